"""What analyses should find, by brute force."""

from __future__ import annotations

import numpy as np


def stored(store, name, where=None):
    """Ids and vectors of all points."""
    records = store.scroll(name, limit=1000, where=where).records
    return [record.id for record in records], np.array([record.vector for record in records], np.float64)


def cosines(a, b):
    def unit(x):
        x = x / np.maximum(np.abs(x).max(axis=1, keepdims=True), 1e-300)
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300)

    return unit(a) @ unit(b).T if len(a) and len(b) else np.zeros((len(a), len(b)))


def groups(store, name, threshold, where=None):
    """Sets of ids that pairs with this cosine, or equal vectors, connect."""
    ids, vectors = stored(store, name, where)
    near = cosines(vectors, vectors) >= threshold
    near |= np.array([[np.array_equal(a, b) for a in vectors] for b in vectors], bool).reshape(near.shape)
    found, left = [], set(range(len(ids)))
    while left:
        group, edge = set(), {left.pop()}
        while edge:
            group |= edge
            edge = {j for i in edge for j in np.flatnonzero(near[i])} - group
        left -= group
        if len(group) > 1:
            found.append(frozenset(ids[i] for i in group))
    return set(found)


def clear(store, name, threshold, margin=1e-5):
    """Whether no pair is so near to the threshold that rounding decides."""
    _, vectors = stored(store, name)
    return not (np.abs(cosines(vectors, vectors) - threshold) < margin).any()


def done(steps):
    """What steps return."""
    while True:
        try:
            share = next(steps)
        except StopIteration as end:
            return end.value
        assert 0 <= share <= 1


def ids_of(scan, found):
    """Groups as sets of ids."""
    return {frozenset(scan.points(np.sort(rows))[row].id for row in rows.tolist()) for rows, _ in found}
