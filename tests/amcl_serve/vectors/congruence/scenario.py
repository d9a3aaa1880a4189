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
from tests.amcl_serve.vectors.conditions import FILTERS, NUMBERS, PAYLOADS
from tests.amcl_serve.vectors.congruence.oracle import Oracle

SIZE = 2
COLLECTIONS = ("one.a", "Two-b")
ALIASES = ("now", "then")
NAMES = st.sampled_from([*COLLECTIONS * 3, *ALIASES, "none", "no name"])
IDS = st.sampled_from([*range(7), (1 << 64) - 1, *(UUID(int=i << 64) for i in range(3))])
# Lengths that are whole, for Cosine; the last has none.
VECTORS = st.sampled_from([[3, 4], [4, 3], [-3, 4], [0, 5], [5, 0], [0, -1], [1.5, 2], [1.5, -2], [6, 8], [0, 0]])
SIZED = st.one_of(*[VECTORS] * 9, st.just([1, 2, 3]))
POINTS = st.builds(Point, IDS, SIZED, PAYLOADS)
WHERE = st.none() | FILTERS
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
FEWER = {COLLECTIONS[0]: "Cosine", COLLECTIONS[1]: "Dot"}


def record(found):
    return found.id, found.version, found.vector.tolist(), found.payload_json


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

    @initialize()
    def begin(self):
        for name, distance in FEWER.items():
            self.same("create", name, SIZE, distance)

    @rule(name=NAMES.filter(lambda name: name != "no name"), distance=st.sampled_from(["Cosine", "Dot", "Euclid"]))
    def create(self, name, distance):
        self.same("create", name, SIZE, distance)

    @rule(name=NAMES)
    def drop(self, name):
        self.same("drop", name)

    @rule(name=NAMES, points=st.lists(POINTS, max_size=6), model=MODELS)
    def upsert(self, name, points, model):
        self.same("upsert", name, points, model=model)

    @rule(name=st.sampled_from(COLLECTIONS), vectors=st.lists(VECTORS, min_size=9, max_size=9), payload=PAYLOADS)
    def fill(self, name, vectors, payload):
        self.same("upsert", name, [Point(i, vector, payload) for i, vector in enumerate(vectors) if any(vector)])

    @rule(name=NAMES, chosen=CHOSEN)
    def delete(self, name, chosen):
        self.same("delete", name, chosen)

    @rule(name=NAMES, chosen=CHOSEN, payload=PAYLOADS, key=st.none() | KEYS)
    def set_payload(self, name, chosen, payload, key):
        self.same("set_payload", name, chosen, payload, key=key)

    @rule(name=NAMES, chosen=CHOSEN, payload=PAYLOADS)
    def overwrite_payload(self, name, chosen, payload):
        self.same("overwrite_payload", name, chosen, payload)

    @rule(name=NAMES, chosen=CHOSEN, keys=st.lists(KEYS, max_size=3))
    def delete_payload(self, name, chosen, keys):
        self.same("delete_payload", name, chosen, keys)

    @rule(name=NAMES, field=FIELDS, schema=st.sampled_from(["keyword", "integer", "float"]))
    def index_field(self, name, field, schema):
        self.same("index_field", name, field, schema)

    @rule(name=NAMES, field=FIELDS)
    def forget_field(self, name, field):
        self.same("forget_field", name, field)

    @rule(actions=st.lists(ACTIONS, min_size=1, max_size=3))
    def change_aliases(self, actions):
        self.same("change_aliases", actions)

    @rule(name=NAMES)
    def describe(self, name):
        self.same("names")
        self.same("describe", name, to=lambda info: (info.name, info.size, info.distance, info.model, info.points))
        self.same("fields", name, to=lambda fields: [(each.name, each.schema, each.points) for each in fields])
        for asked in (None, name):
            self.same("aliases", asked, to=lambda aliases: [(each.alias, each.collection) for each in aliases])

    @rule(name=NAMES, limit=LIMITS, start=st.none() | IDS, where=WHERE)
    def scroll(self, name, limit, start, where):
        self.same(
            "scroll",
            name,
            limit=limit,
            start=start,
            where=where,
            to=lambda page: ([record(each) for each in page.records], page.next_offset),
        )

    @rule(name=NAMES, order=st.builds(Order, FIELDS, st.booleans(), st.none() | NUMBERS), limit=LIMITS, where=WHERE)
    def scroll_by(self, name, order, limit, where):
        self.same(
            "scroll_by",
            name,
            order,
            limit=limit,
            where=where,
            to=lambda rows: [(record(r), value) for r, value in rows],
        )

    @rule(name=NAMES, where=WHERE)
    def count(self, name, where):
        self.same("count", name, where)

    @rule(name=NAMES, ids=st.lists(IDS, min_size=1, max_size=4))
    def read(self, name, ids):
        self.same("get", name, ids[0], to=record)
        self.same("retrieve", name, ids, to=lambda records: [record(each) for each in records])

    @rule(
        name=NAMES,
        wanted=TARGETS,
        limit=LIMITS,
        offset=st.integers(0, 3),
        threshold=st.none() | st.sampled_from([-0.6, 0, 0.8, 1, 5, 25]),
        where=WHERE,
    )
    def query(self, name, wanted, limit, offset, threshold, where):
        query = Query(wanted, limit, offset, threshold, where, exact=True)
        self.same("query", name, query, to=found)

    @rule(name=NAMES, wanted=TARGETS, where=WHERE)
    def query_for_all(self, name, wanted, where):
        """Whoever is asked for more than there is leaves nothing out, by whatever index."""
        self.same("query", name, Query(wanted, 100, filter=where), to=found)

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


def found(hits):
    return [(record(hit.record), float(hit.score)) for hit in hits]
