"""Points that two collections share, by cosine and by hash; and duplicates by hash."""

from __future__ import annotations

import numpy as np
import pytest

from amcl_serve.errors import InvalidRequest
from amcl_serve.vectors.analysis import leaks
from amcl_serve.vectors.analysis.analyses import Analyses
from amcl_serve.vectors.types import Chosen, Point
from tests.amcl_serve.vectors.analysis.oracle import cosines, done, ids_of, stored

CUT = 0.9917  # of no pair by rounding alone


def fill(store, name, count, seed, distance="Cosine", payload=lambda i: {}):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(5, 4))
    store.create(name, 4, distance)
    vectors = centres[rng.integers(0, 5, count)] + 0.1 * rng.normal(size=(count, 4))
    store.upsert(name, [Point(i, v, payload(i)) for i, v in enumerate(vectors)])


@pytest.mark.parametrize(("one", "two"), [("Cosine", "Cosine"), ("Dot", "Euclid")])
def test_leaks_are_all_pairs_over_the_threshold(store, small_pieces, one, two):
    fill(store, "train", 50, 1, one)
    fill(store, "test", 40, 2, two)
    store.delete("train", Chosen([3, 30]))
    a, b = store.scan("train"), store.scan("test")
    found = done(Analyses(2).leaks(a, b, CUT))
    ids_a, vectors_a = stored(store, "train")
    ids_b, vectors_b = stored(store, "test")
    near = cosines(vectors_a, vectors_b)
    assert (np.abs(near - CUT) > 1e-6).all()
    expected = {(ids_a[i], ids_b[j]): near[i, j] for i, j in zip(*np.nonzero(near >= CUT), strict=True)}
    of_a, of_b = a.points(a.rows), b.points(b.rows)
    got = {
        (of_a[x].id, of_b[y].id): cosine
        for x, y, cosine in zip(found.a.tolist(), found.b.tolist(), found.cosines.tolist(), strict=True)
    }
    assert len(got) == len(found) > 20
    assert got == pytest.approx(expected, abs=1e-6)
    order = list(zip(found.a.tolist(), (-found.cosines).tolist(), found.b.tolist(), strict=True))
    assert order == sorted(order)


def test_too_many_leaks(store, monkeypatch):
    fill(store, "a", 20, 1)
    fill(store, "b", 20, 2)
    monkeypatch.setattr(leaks, "MAX_PAIRS", 5)
    with pytest.raises(InvalidRequest, match="higher threshold"):
        done(Analyses(1).leaks(store.scan("a"), store.scan("b"), 0.5))
    monkeypatch.setattr(leaks, "MAX_PAIRS", 400)
    assert len(done(Analyses(1).leaks(store.scan("a"), store.scan("b"), 0.01))) <= 400


def test_no_points_leak_nothing(store):
    fill(store, "a", 20, 1)
    store.create("b", 4, "Cosine")
    analyses = Analyses(1)
    for one, two in (("a", "b"), ("b", "a")):
        assert len(done(analyses.leaks(store.scan(one), store.scan(two), 0.5))) == 0
        assert len(done(analyses.leaks_by_hash(store.scan(one), store.scan(two), "sha256"))) == 0


def hashed(number):
    """Some of the same content, some without a hash, or with another thing in its place."""
    return {"file": {"sha256": [f"h{number % 7}", None, number, f"own{number}"][number % 4]}} if number % 9 else {}


def test_contents_of_the_same_hash(store):
    fill(store, "a", 60, 1, payload=hashed)
    fill(store, "b", 30, 2, payload=lambda i: {"file": {"sha256": f"h{i % 14}"}})
    of = {
        i: text
        for i in range(60)
        if isinstance(text := hashed(i).get("file", {}).get("sha256"), str) and text.startswith("h")
    }
    expected = {frozenset(i for i in of if of[i] == text) for text in set(of.values())}
    expected = {group for group in expected if len(group) > 1}
    a, b = store.scan("a"), store.scan("b")
    found = done(Analyses(1).same_hash(a, "file.sha256"))
    assert ids_of(a, found) == expected != set()
    assert done(Analyses(1).same_hash(a, "nothing")).rows.tolist() == []
    pairs = done(Analyses(1).leaks_by_hash(a, b, "file.sha256"))
    of_a, of_b = a.points(a.rows), b.points(b.rows)
    got = [(of_a[x].id, of_b[y].id) for x, y in zip(pairs.a.tolist(), pairs.b.tolist(), strict=True)]
    assert sorted(got) == sorted((i, j) for i in of for j in range(30) if of[i] == f"h{j % 14}")
