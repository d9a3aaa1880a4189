"""Outliers and diverse subsets against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from amcl_serve.errors import InvalidRequest
from amcl_serve.vectors.analysis import diverse
from amcl_serve.vectors.analysis.analyses import Analyses
from amcl_serve.vectors.types import Chosen, Point
from tests.amcl_serve.vectors.analysis.oracle import cosines, done, stored


def fill(store, count, distance="Cosine", seed=0):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(3, 4))[rng.integers(0, 3, count)] + 0.3 * rng.normal(size=(count, 4))
    if count > 30:
        vectors[7] = vectors[8] = vectors[9]  # of which each is its own nearest, and the others'
    store.create("a", 4, distance)
    store.upsert("a", [Point(i, v, {"kind": i % 2}) for i, v in enumerate(vectors)])


@pytest.mark.parametrize("distance", ["Cosine", "Dot", "Euclid"])
@pytest.mark.parametrize("neighbours", [1, 5, 100])
def test_outliers_are_those_least_like_their_nearest(store, small_pieces, distance, neighbours):
    fill(store, 60, distance)
    store.delete("a", Chosen([0, 20]))
    ids, vectors = stored(store, "a")
    near = cosines(vectors, vectors)
    np.fill_diagonal(near, -np.inf)
    scores = -np.sort(-near, axis=1)[:, : min(neighbours, len(ids) - 1)].mean(axis=1)
    scan = store.scan("a")
    found = done(Analyses(2).outliers(scan, neighbours, 15))
    points = scan.points(scan.rows)
    assert found.scores.tolist() == pytest.approx(np.sort(scores)[:15].tolist(), abs=1e-6)
    own = dict(zip(ids, scores.tolist(), strict=True))
    assert [own[points[row].id] for row in found.rows.tolist()] == pytest.approx(found.scores.tolist(), abs=1e-6)
    assert len(set(found.rows.tolist())) == 15


def test_a_far_point_among_many_is_the_first_outlier(store):
    fill(store, 40)
    where = {"must": [{"key": "kind", "match": {"value": 0}}]}
    _, vectors = stored(store, "a")
    store.upsert("a", [Point(1000, -vectors.mean(axis=0), {"kind": 0})])
    scan = store.scan("a", where)
    found = done(Analyses(1).outliers(scan, 10, 3))
    assert scan.points(found.rows[:1]).popitem()[1].id == 1000


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_points(store, count):
    fill(store, count) if count else store.create("a", 4, "Cosine")
    scan = store.scan("a")
    assert len(done(Analyses(1).outliers(scan, 10, 10)).rows) == (count if count > 1 else 0)
    subset = done(Analyses(1).diverse(scan, 10))
    assert len(subset.rows) == count
    assert subset.radius == 0


@pytest.mark.parametrize("distance", ["Cosine", "Dot"])
def test_a_diverse_subset_takes_the_farthest_each_time(store, small_pieces, distance):
    fill(store, 60, distance, seed=1)
    where = {"must_not": [{"key": "kind", "match": {"value": 7}}]}
    ids, vectors = stored(store, "a")
    scan = store.scan("a", where)
    subset = done(Analyses(1).diverse(scan, 12))
    points = scan.points(scan.rows)
    chosen = [ids.index(points[row].id) for row in subset.rows.tolist()]
    assert len(set(chosen)) == 12
    near = cosines(vectors, vectors)
    for number in range(1, 12):
        far = 1 - near[:, chosen[:number]].max(axis=1)
        assert subset.distances[number] == pytest.approx(far[chosen[number]], abs=1e-6)
        assert far[chosen[number]] == pytest.approx(far.max(), abs=1e-6)
    assert subset.radius == pytest.approx((1 - near[:, chosen].max(axis=1)).max(), abs=1e-6)
    assert np.isnan(subset.distances[0])
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    typical = units @ units.mean(axis=0)
    assert typical[chosen[0]] == pytest.approx(typical.max(), abs=1e-6)
    everything = done(Analyses(1).diverse(scan, 1000))
    assert sorted(everything.rows.tolist()) == scan.rows.tolist()
    assert everything.radius == 0


def test_more_than_can_be_held_is_refused(store, monkeypatch):
    fill(store, 40)
    monkeypatch.setattr(diverse, "MAX_BYTES", 39 * 4 * 4)
    with pytest.raises(InvalidRequest, match="at most 39 points of size 4, and there are 40"):
        done(Analyses(1).diverse(store.scan("a"), 5))
