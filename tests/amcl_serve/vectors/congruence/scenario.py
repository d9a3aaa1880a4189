"""Scenarios of whatever can be done with collections, done with a store and with the oracle; the answers are equal.

Vectors have few, exactly representable components, so that scores tie and are equal to the last bit.
"""

from __future__ import annotations

from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from amcl_serve.errors import AmclError
from amcl_serve.vectors.types import (
    Chosen,
    CreateAlias,
    DeleteAlias,
    Examples,
    ModelRef,
    Order,
    Point,
    Query,
    RenameAlias,
)
from tests.amcl_serve.vectors.conditions import CONDITIONS, FILTERS, NUMBERS, PAYLOADS, VALUES
from tests.amcl_serve.vectors.congruence.oracle import Oracle

SIZE = 2
COLLECTIONS = ("one.a", "Two-b")
ALIASES = ("now", "then")
NAMES = st.sampled_from([*COLLECTIONS * 6, *ALIASES, "none", "no name"])
IDS = st.sampled_from([*range(7), (1 << 64) - 1, *(UUID(int=i << 64) for i in range(3))])
# Lengths that are whole, for Cosine; and one vector that has none, and one of another size.
GOOD = [[3, 4], [4, 3], [-3, 4], [0, 5], [5, 0], [0, -1], [1.5, 2], [1.5, -2], [6, 8]]
VECTORS = st.sampled_from(GOOD)
SIZED = st.sampled_from([*GOOD * 4, [0, 0], [1, 2, 3]])
FULL = st.fixed_dictionaries({"a": VALUES, "b": VALUES}, optional={"naïve key": VALUES})
POINTS = st.builds(Point, IDS, SIZED, PAYLOADS)
MANY = st.lists(st.builds(Point, IDS, VECTORS, FULL | PAYLOADS), min_size=9, max_size=12)
DISTANCES = st.sampled_from(["Cosine", "Dot", "Euclid"])
ONE = st.builds(lambda clause, condition: {clause: [condition]}, st.sampled_from(["must", "must_not"]), CONDITIONS)
TWO = st.lists(CONDITIONS, min_size=2, max_size=2).map(lambda both: {"should": both})
WHERE = st.none() | ONE | TWO | FILTERS
FEW = st.lists(ONE | TWO | FILTERS, min_size=4, max_size=6)
CHOSEN = st.builds(Chosen, st.lists(IDS, max_size=3), WHERE)
KEYS = st.sampled_from(["a", "b", "a.b", "a.c", "b.b.c", "naïve key", "it's"])
FIELDS = st.sampled_from(["a", "b", "a.b"])
MODELS = st.sampled_from([None] * 6 + [ModelRef("m", "d1", SIZE), ModelRef("n", "d2", SIZE), ModelRef("o", "d1", 3)])
LIMITS = st.integers(1, 5)
EXAMPLE = IDS | SIZED
TARGETS = EXAMPLE | st.builds(Examples, st.lists(EXAMPLE, min_size=1, max_size=3), st.lists(EXAMPLE, max_size=2))
ACTIONS = st.one_of(
    st.builds(CreateAlias, st.sampled_from([*ALIASES * 2, COLLECTIONS[0]]), NAMES),
    st.builds(DeleteAlias, st.sampled_from(ALIASES)),
    st.builds(RenameAlias, st.sampled_from(ALIASES), st.sampled_from([*ALIASES, COLLECTIONS[1]])),
)
BEGUN = {COLLECTIONS[0]: "Cosine", COLLECTIONS[1]: "Dot"}


def record(found):
    return found.id, found.version, found.vector.tolist(), found.payload_json


def page(found):
    return [record(each) for each in found.records], found.next_offset


def hits(found):
    return [(record(hit.record), float(hit.score)) for hit in found]


def pairs(found):
    return [(each.alias, each.collection) for each in found]


class Scenario(RuleBasedStateMachine):
    """`engine` opens the store, and opens it again, and says whether there are snapshots."""

    def __init__(self, engine):
        super().__init__()
        self.engine = engine
        self.oracle = Oracle()
        self.store = engine.open()

    def teardown(self):
        for name in self.store.names():
            self.store.drop(name)
        self.store.close()

    def same(self, method, *args, to=lambda found: found, **options):
        """The answer, or the class of the error, of the store is the oracle's."""
        answers = []
        for side, convert in ((self.oracle, lambda found: found), (self.store, to)):
            try:
                answers.append(convert(getattr(side, method)(*args, **options)))
            except AmclError as error:
                answers.append(type(error))
        expected, found = answers
        assert found == expected, (method, args, options)

    @initialize(points=st.lists(MANY, min_size=2, max_size=2), actions=st.lists(ACTIONS, max_size=2))
    def begin(self, points, actions):
        for (name, distance), some in zip(BEGUN.items(), points, strict=True):
            self.same("create", name, SIZE, distance)
            self.change("upsert", name, some)
            self.same("index_field", name, "a", "float")
        self.same("change_aliases", actions)

    def change(self, method, name, *args, **options):
        """Whatever is written, all of it is looked at."""
        self.same(method, name, *args, **options)
        self.same("scroll", name, limit=100, to=page)
        self.same("fields", name, to=lambda found: [(each.name, each.schema, each.points) for each in found])

    @rule(name=NAMES.filter(lambda name: name != "no name"), distance=DISTANCES, points=MANY)
    def create(self, name, distance, points):
        self.same("create", name, SIZE, distance)
        self.change("upsert", name, points)

    @rule(name=NAMES, anew=st.sampled_from([True, True, True, False]), distance=DISTANCES, points=MANY)
    def drop(self, name, anew, distance, points):
        self.same("drop", name)
        self.same("names")
        if anew and name in COLLECTIONS:
            self.create(name, distance, points)

    @rule(name=NAMES, points=st.lists(POINTS, max_size=6), model=MODELS)
    def upsert(self, name, points, model):
        self.change("upsert", name, points, model=model)

    @rule(name=NAMES, points=MANY)
    def upsert_many(self, name, points):
        self.change("upsert", name, points)

    @rule(name=NAMES, chosen=CHOSEN)
    def delete(self, name, chosen):
        self.change("delete", name, chosen)

    @rule(name=NAMES, chosen=CHOSEN, payload=PAYLOADS, key=st.none() | KEYS)
    def set_payload(self, name, chosen, payload, key):
        self.change("set_payload", name, chosen, payload, key=key)

    @rule(name=NAMES, chosen=CHOSEN, payload=PAYLOADS)
    def overwrite_payload(self, name, chosen, payload):
        self.change("overwrite_payload", name, chosen, payload)

    @rule(name=NAMES, chosen=CHOSEN, keys=st.lists(KEYS, max_size=3))
    def delete_payload(self, name, chosen, keys):
        self.change("delete_payload", name, chosen, keys)

    @rule(name=NAMES, field=FIELDS, schema=st.sampled_from(["keyword", "integer", "float"]))
    def index_field(self, name, field, schema):
        self.same("index_field", name, field, schema)

    @rule(name=NAMES, field=FIELDS)
    def forget_field(self, name, field):
        self.same("forget_field", name, field)

    @rule(actions=st.lists(ACTIONS, min_size=1, max_size=3))
    def change_aliases(self, actions):
        self.same("change_aliases", actions)
        self.same("aliases", to=pairs)

    @rule(name=NAMES)
    def describe(self, name):
        self.same("names")
        self.same("describe", name, to=lambda info: (info.name, info.size, info.distance, info.model, info.points))
        self.same("aliases", name, to=pairs)

    @rule(name=NAMES, limit=LIMITS, start=st.none() | IDS, filters=FEW)
    def read(self, name, limit, start, filters):
        for where in [None, *filters]:
            self.same("count", name, where)
            self.same("scroll", name, limit=limit, start=start, where=where, to=page)

    @rule(name=NAMES, order=st.builds(Order, FIELDS, st.booleans(), st.none() | NUMBERS), limit=LIMITS, where=WHERE)
    def read_in_order(self, name, order, limit, where):
        self.same("scroll_by", name, order, limit=limit, where=where, to=lambda rows: [(record(r), n) for r, n in rows])

    @rule(name=NAMES, ids=st.lists(IDS, min_size=1, max_size=4))
    def read_some(self, name, ids):
        self.same("get", name, ids[0], to=record)
        self.same("retrieve", name, ids, to=lambda records: [record(each) for each in records])

    @rule(
        name=NAMES,
        wanted=st.lists(TARGETS, min_size=1, max_size=3),
        limit=LIMITS,
        offset=st.integers(0, 3),
        threshold=st.none() | st.sampled_from([-0.6, 0, 0.8, 1, 5, 25]),
        filters=FEW,
    )
    def query(self, name, wanted, limit, offset, threshold, filters):
        """Whoever asks for more than there is gets all of it, by whatever index."""
        for each in wanted:
            for where in [None, *filters]:
                self.same("query", name, Query(each, limit, offset, threshold, where, exact=True), to=hits)
            self.same("query", name, Query(each, 100, filter=filters[0]), to=hits)

    @precondition(lambda self: self.engine.snapshots)
    @rule(name=NAMES.filter(lambda name: name != "no name"), other=st.sampled_from(COLLECTIONS))
    def recover(self, name, other):
        if other not in self.store.names():
            return
        snapshot = self.store.create_snapshot(other)
        expected = actual = None
        try:
            self.oracle.recover(name, other)
        except AmclError as error:
            expected = type(error)
        try:
            self.store.recover(name, snapshot.name, of=other)
        except AmclError as error:
            actual = type(error)
        assert actual == expected
        self.store.delete_snapshot(other, snapshot.name)
        self.describe(name)

    @rule()
    def restart(self):
        self.store.close()
        self.store = self.engine.open()
