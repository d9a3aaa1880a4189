from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amcl_serve.vectors.index.exact import ExactIndex, scores

DISTANCES = ("Cosine", "Dot", "Euclid")
SIZE = 4


def best(stored, vector, distance, count, only=None):
    """Rows of the `count` best and of what ties with the last of them, by brute force."""
    rows = sorted(row for row in stored if only is None or row in only)
    if not rows or not count:
        return {}
    found = scores(vector, np.stack([stored[row] for row in rows]), distance)
    badness = found if distance == "Euclid" else -found
    last = np.sort(badness)[min(count, len(rows)) - 1]
    return {row: score for row, score, bad in zip(rows, found, badness, strict=True) if bad <= last}


def answer(index, vector, count, only=None):
    found = index.search(vector, count, None if only is None else np.array(sorted(only), np.int64))
    return dict(zip(found.rows.tolist(), found.scores, strict=True))


def drawn(rng, count, distance, size=SIZE):
    """Vectors with ties; for Dot some that are a million times as long as others."""
    made = np.where(rng.random((count, 1)) < 0.5, rng.integers(-2, 3, (count, size)), rng.normal(size=(count, size)))
    if distance == "Dot":
        made = made * 10.0 ** rng.integers(-3, 7, (count, 1)) ** (rng.random((count, 1)) < 0.3)
    if distance == "Cosine":
        made += (~made.any(axis=1))[:, None]
        made = made / np.linalg.norm(made, axis=1, keepdims=True)
    return made.astype(np.float32)


STEPS = st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 150), st.floats(0, 0.9)), min_size=1, max_size=6)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(distance=st.sampled_from(DISTANCES), steps=STEPS, count=st.integers(1, 20))
def test_finds_what_brute_force_finds(distance, steps, count):
    index = ExactIndex(SIZE, distance)
    stored: dict[int, np.ndarray] = {}
    last = 0
    for seed, more, share in steps:
        rng = np.random.default_rng(seed)
        rows = last + 1 + np.cumsum(rng.integers(1, 3, more)) if more else np.empty(0, np.int64)
        vectors = drawn(rng, more, distance)
        index.add(rows, vectors)
        stored |= dict(zip(rows.tolist(), vectors, strict=True))
        last = max(stored, default=last)
        gone = [row for row in stored if rng.random() < share]
        index.remove(np.array([*gone, 1 << 40], np.int64))
        for row in gone:
            del stored[row]
        assert len(index) == len(stored)
        for vector in (*drawn(rng, 2, distance), *list(stored.values())[:1]):
            assert answer(index, vector, count) == best(stored, vector, distance, count)
            only = {row for row in stored if rng.random() < 0.3} | {1 << 41}
            assert answer(index, vector, count, only) == best(stored, vector, distance, count, only)
    asked = np.array(sorted([*list(stored)[:3], 1 << 41]), np.int64)
    assert index.lacks(asked).tolist() == [1 << 41]


@pytest.mark.parametrize("removed", [False, True])
def test_a_vector_of_great_length_hides_no_other(removed, monkeypatch):
    """Rounding errors are relative to it; without care all others would seem to tie."""
    rng = np.random.default_rng(0)
    index = ExactIndex(64, "Dot")
    vectors = rng.normal(size=(5000, 64)).astype(np.float32)
    index.add(np.arange(5000), vectors)
    index.add(np.array([5000]), (1e6 * rng.normal(size=(1, 64))).astype(np.float32))
    if removed:
        index.remove(np.array([5000]))
    looked_at = []
    monkeypatch.setattr(
        "amcl_serve.vectors.index.exact.scores",
        lambda vector, found, distance: (looked_at.append(len(found)), scores(vector, found, distance))[1],
    )
    assert len(index.search(vectors[0], 10).rows) == 10
    assert sum(looked_at) < 200
