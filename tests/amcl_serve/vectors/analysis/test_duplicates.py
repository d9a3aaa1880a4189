"""Near duplicates against brute force, whatever is written and deleted from one time to the next."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amcl_serve.errors import DeadlineExceeded, InvalidRequest
from amcl_serve.vectors.analysis import known
from amcl_serve.vectors.analysis.analyses import Analyses
from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.types import Chosen, Point
from tests.amcl_serve.vectors.analysis.oracle import clear, done, groups, ids_of

SIZE = 4
THRESHOLDS = (0.8, 0.95, 0.999)
NUMBERS = itertools.count()


def vectors(rng, count):
    """Around a few centres: copies, near copies, and others."""
    centres = np.random.default_rng(0).normal(size=(4, SIZE))
    noise = rng.choice([0, 0.001, 0.1, 1], size=(count, 1)) * rng.normal(size=(count, SIZE))
    return centres[rng.integers(0, 4, count)] + noise


def found(analyses, store, name, threshold, **options):
    scan = store.scan(name)
    return ids_of(scan, done(analyses.duplicates(scan, threshold, **options)))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "delete", "payload"]), st.integers(0, 2**32 - 1), st.sampled_from(THRESHOLDS)
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, distance=st.sampled_from(["Cosine", "Dot", "Euclid"]), threads=st.sampled_from([1, 3]))
def test_each_time_the_groups_are_those_of_all_pairs(store, small_pieces, steps, distance, threads):
    name = f"a{next(NUMBERS)}"
    store.create(name, SIZE, distance)
    analyses = Analyses(threads)
    for what, seed, threshold in steps:
        rng = np.random.default_rng(seed)
        ids = rng.integers(0, 60, rng.integers(1, 40)).tolist()
        if what == "write":  # some anew, some again with another vector
            store.upsert(name, [Point(i, v, {}) for i, v in zip(ids, vectors(rng, len(ids)), strict=True)])
        elif what == "delete":
            store.delete(name, Chosen(ids))
        else:
            store.set_payload(name, Chosen(ids), {"seed": seed})
        if not clear(store, name, threshold):
            continue
        expected = groups(store, name, threshold)
        assert found(analyses, store, name, threshold) == expected
        assert found(Analyses(threads), store, name, threshold) == expected
        assert found(analyses, store, name, threshold, whole=False) == expected


def test_in_a_group_the_oldest_is_first_and_each_has_its_nearest(store):
    store.create("a", 2, "Dot")
    store.upsert("a", [Point(7, [1, 0], {}), Point(3, [0, 1], {}), Point(5, [0, -1], {})])
    store.upsert("a", [Point(2, [2, 0.1], {}), Point(1, [5, 0], {}), Point(4, [1, 40], {}), Point(9, [1, 0], {})])
    scan = store.scan("a")
    result = done(Analyses(1).duplicates(scan, 0.99))
    points = scan.points(scan.rows)
    listed = [[points[row].id for row in rows.tolist()] for rows, _ in result]
    assert listed == [[7, 2, 1, 9], [3, 4]]
    close = float(np.float32(2 / np.hypot(2, 0.1)))
    nearest = [near.tolist() for _, near in result]
    assert nearest[0] == pytest.approx([1, close, 1, 1], abs=1e-7)
    assert nearest[1] == pytest.approx([40 / np.hypot(1, 40)] * 2, abs=1e-7)


class Counting:
    """A scan that counts the vectors read, and does something after so many calls."""

    def __init__(self, scan, after=None, then=lambda: None):
        self._scan, self.read, self._after, self._then = scan, 0, after, then
        self._calls = itertools.count()

    def __getattr__(self, name):
        return getattr(self._scan, name)

    def vectors(self, rows):
        if next(self._calls) == self._after:
            self._then()
        result = self._scan.vectors(rows)
        self.read += len(result[0])
        return result


def test_what_is_known_is_not_compared_again(store):
    store.create("a", SIZE, "Cosine")
    rng = np.random.default_rng(1)
    store.upsert("a", [Point(i, v, {}) for i, v in enumerate(rng.normal(size=(50, SIZE)))])
    analyses = Analyses(1)

    def read(threshold):
        scan = Counting(store.scan("a"))
        done(analyses.duplicates(scan, threshold))
        return scan.read

    assert read(0.9) == 50
    assert read(0.9) == read(0.95) == 0  # a higher threshold is among what is known
    store.upsert("a", [Point(100, rng.normal(size=SIZE), {})])
    assert read(0.95) == 51
    assert read(0.8) == 51  # a lower one is not
    store.delete("a", Chosen([100, 3]))
    assert read(0.8) == 0
    record = store.get("a", 5)
    store.upsert("a", [Point(200, record.vector, {})])  # the same vector again, known by its digest
    assert read(0.8) == 1
    assert found(analyses, store, "a", 0.8) == groups(store, "a", 0.8)


def test_where_there_is_no_room_the_oldest_knowledge_goes(store, monkeypatch):
    analyses, read = Analyses(1), {}
    for name in ("a", "b"):
        store.create(name, SIZE, "Cosine")
        store.upsert(name, [Point(i, v, {}) for i, v in enumerate(np.random.default_rng(0).normal(size=(9, SIZE)))])

    def look(name):
        scan = Counting(store.scan(name))
        done(analyses.duplicates(scan, 0.9))
        read[name] = scan.read

    look("a")
    look("b")
    look("a")
    assert read == {"a": 0, "b": 9}
    monkeypatch.setattr(known, "KEPT_BYTES", 1)
    store.upsert("b", [Point(100, [1, 2, 3, 4], {})])
    look("b")
    look("b")
    look("a")
    assert read == {"a": 9, "b": 0}


def test_copies_make_no_pairs(store, monkeypatch):
    monkeypatch.setattr(known, "MAX_PAIRS", 10)
    store.create("a", SIZE, "Cosine")
    store.upsert("a", [Point(i, [1, 2, 3, 4], {}) for i in range(900)])
    assert found(Analyses(2), store, "a", 0.9) == {frozenset(range(900))}


def test_too_many_pairs_are_refused_and_known_ones_stay(store, small_pieces, monkeypatch):
    store.create("a", SIZE, "Cosine")
    rng = np.random.default_rng(2)
    store.upsert("a", [Point(i, v, {}) for i, v in enumerate(rng.normal(size=(40, SIZE)))])
    analyses = Analyses(1)
    few = found(analyses, store, "a", 0.99)
    monkeypatch.setattr(known, "MAX_PAIRS", 100)
    with pytest.raises(InvalidRequest, match="higher threshold"):
        found(analyses, store, "a", 0.1)
    assert found(analyses, store, "a", 0.99) == few == groups(store, "a", 0.99)


def test_a_time_that_is_broken_off_counts_as_far_as_it_came(store, small_pieces):
    store.create("a", SIZE, "Cosine")
    rng = np.random.default_rng(3)
    store.upsert("a", [Point(i, v, {}) for i, v in enumerate(vectors(rng, 60))])
    analyses = Analyses(1)
    whole = Counting(store.scan("a"))
    for share in analyses.duplicates(whole, 0.95):
        if share > 0.5:
            break
    rest = Counting(store.scan("a"))
    assert ids_of(rest, done(analyses.duplicates(rest, 0.95))) == groups(store, "a", 0.95)
    alone = Counting(store.scan("a"))
    done(Analyses(1).duplicates(alone, 0.95))
    assert rest.read < alone.read


@pytest.mark.parametrize("after", range(0, 40, 3))
def test_points_that_are_deleted_meanwhile(store, small_pieces, after):
    """In the middle of it copies and centres go; what is found of the others is right, then and the next time."""
    store.create("a", SIZE, "Cosine")
    rng = np.random.default_rng(after)
    store.upsert("a", [Point(i, v, {}) for i, v in enumerate(vectors(rng, 60))])
    analyses = Analyses(1)
    found(analyses, store, "a", 0.95)
    store.upsert("a", [Point(i, v, {}) for i, v in enumerate(vectors(rng, 40), 60)])
    gone = rng.choice(100, 30, replace=False).tolist()
    scan = Counting(store.scan("a"), after, lambda: store.delete("a", Chosen(gone)))
    result = done(analyses.duplicates(scan, 0.95))
    survivors = store.scan("a")
    there = survivors.points(survivors.rows)
    expected = groups(store, "a", 0.95)
    seen = [{there[row].id for row in rows.tolist() if row in there} for rows, _ in result]
    for group in expected:  # a group may hang together by one that was deleted, and never falls apart
        assert any(group <= ids for ids in seen)
    store.delete("a", Chosen(gone))
    assert found(analyses, store, "a", 0.95) == groups(store, "a", 0.95)


def test_a_filter_and_a_budget(store):
    store.create("a", SIZE, "Cosine")
    rng = np.random.default_rng(4)
    store.upsert("a", [Point(i, v, {"kind": i % 2}) for i, v in enumerate(vectors(rng, 60))])
    where = {"must": [{"key": "kind", "match": {"value": 1}}]}
    scan = store.scan("a", where)
    assert len(scan.rows) == 30
    result = done(Analyses(1).duplicates(scan, 0.95, whole=False))
    assert ids_of(scan, result) == groups(store, "a", 0.95, where)
    budget = Budget(60)
    scan = store.scan("a", budget=budget)
    budget.cancel()
    with pytest.raises(DeadlineExceeded, match="left"):
        done(Analyses(1).duplicates(scan, 0.95))


def test_extreme_lengths_and_no_points(store):
    store.create("a", 3, "Euclid")
    assert found(Analyses(1), store, "a", 0.9) == set()
    store.upsert("a", [Point(1, [1e18, 0, 0], {})])
    assert found(Analyses(1), store, "a", 0.9) == set()
    store.upsert("a", [Point(2, [1e-38, 1e-44, 0], {}), Point(3, [0, 0, 0], {}), Point(4, [0, 0, 0], {})])
    assert found(Analyses(1), store, "a", 1.0) == {frozenset({1, 2}), frozenset({3, 4})}
