"""Retrieval against scikit-learn's average precision, against loops, and its properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from amcl_serve.metrics import retrieval as module
from amcl_serve.metrics.retrieval import rankings, retrieval


def blobs(count, *, seed, classes=4, dims=6):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    centres = np.random.default_rng(9).normal(size=(classes, dims))
    return (centres[labels] + rng.normal(size=(count, dims))).astype(np.float32), labels


def cosines(queries, bank):
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, bank))
    return a @ b.T


def test_mean_average_precision_equals_scikit_learn():
    bank, bank_labels = blobs(80, seed=1)
    queries, labels = blobs(30, seed=2)
    expected = [
        average_precision_score(bank_labels == label, row)
        for row, label in zip(cosines(queries, bank), labels, strict=True)
    ]
    found = retrieval(bank, bank_labels, queries, labels)
    assert found.mean_average_precision == pytest.approx(np.mean(expected), abs=1e-6)


def test_recall_equals_the_definition_written_as_loops():
    bank, bank_labels = blobs(50, seed=3, classes=20)
    queries, labels = blobs(40, seed=4, classes=20)
    ks = (1, 3, 10, 50)
    hits = dict.fromkeys(ks, 0)
    for row, label in zip(cosines(queries, bank), labels, strict=True):
        order = sorted(range(len(row)), key=lambda i: (-row[i], i))
        for k in ks:
            hits[k] += any(bank_labels[i] == label for i in order[:k])
    assert retrieval(bank, bank_labels, queries, labels, k=ks).recall == {k: n / 40 for k, n in hits.items()}


def test_blocks_change_nothing(monkeypatch):
    bank, bank_labels = blobs(60, seed=5)
    queries, labels = blobs(25, seed=6)
    whole = retrieval(bank, bank_labels, queries, labels)
    monkeypatch.setattr(module, "_CHUNK_BYTES", 4 * 60 * 7)
    in_blocks = retrieval(bank, bank_labels, queries, labels)
    assert in_blocks.recall == whole.recall
    assert in_blocks.mean_average_precision == pytest.approx(whole.mean_average_precision)


def test_equally_similar_images_come_in_their_order():
    found = retrieval([[1.0, 0.0]] * 3, [0, 1, 1], [[1.0, 0.0]], [1], k=[1, 2])
    assert found.recall == {1: 0.0, 2: 1.0}
    assert found.mean_average_precision == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_a_query_without_relevant_images_counts_zero():
    found = retrieval([[1.0, 0.0], [0.0, 1.0]], ["a", "b"], [[1.0, 0.0], [1.0, 0.0]], ["a", "c"], k=[1])
    assert found.recall == {1: 0.5}
    assert found.mean_average_precision == 0.5


def test_scale_does_not_matter():
    bank, bank_labels = blobs(40, seed=7)
    queries, labels = blobs(20, seed=8)
    scaled = retrieval(bank * np.arange(1, 41)[:, None], bank_labels, 3 * queries, labels)
    assert scaled.mean_average_precision == pytest.approx(
        retrieval(bank, bank_labels, queries, labels).mean_average_precision, abs=1e-6
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": [0]}, "k must lie"),
        ({"k": [9]}, "k must lie"),
        ({"k": []}, "k must lie"),
        ({"bank_labels": [0]}, "as many labels"),
        ({"bank_features": [[np.nan, 0.0]] * 8}, "NaN"),
        ({"bank_features": np.zeros((0, 2))}, "non-empty"),
        ({"query_features": [[1.0, 2.0, 3.0]]}, "dims"),
    ],
)
def test_wrong_input_is_named(change, message):
    good = {
        "bank_features": np.ones((8, 2)),
        "bank_labels": [0] * 8,
        "query_features": [[1.0, 1.0]],
        "query_labels": [0],
        "k": [1],
    }
    with pytest.raises(ValueError, match=message):
        retrieval(**{**good, **change})


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_rankings_equal_loops_and_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    bank, queries = rng.normal(size=(30, 4)), rng.normal(size=(6, 4))
    bank[5] = bank[4]  # a tie
    names, asked = rng.integers(0, 4, 30), rng.integers(0, 5, 6)  # class 4 is in no bank
    found = rankings(bank, names, queries, asked)
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (queries, bank)]
    sim = unit[0].astype(np.float32) @ unit[1].astype(np.float32).T
    for row in range(6):
        order = sorted(range(30), key=lambda i, row=row: (-sim[row, i], i))
        hits = [int(names[i] == asked[row]) for i in order]
        relevant = sum(hits)
        assert found.relevant[row] == relevant
        if not relevant:
            assert found.first[row] == 31
            assert found.ndcg[row] == found.map_at_r[row] == found.r_precision[row] == 0
            continue
        precision = [sum(hits[: i + 1]) / (i + 1) for i in range(30)]
        assert found.first[row] == hits.index(1) + 1
        assert found.r_precision[row] == pytest.approx(sum(hits[:relevant]) / relevant)
        at_r = sum(p * h for p, h in zip(precision[:relevant], hits[:relevant], strict=True)) / relevant
        assert found.map_at_r[row] == pytest.approx(at_r)
        falling = np.arange(30, 0, -1)[None]  # scores that sort them in this order
        assert found.ndcg[row] == pytest.approx(ndcg_score(np.array(hits)[None], falling))
        assert found.average_precision[row] == pytest.approx(average_precision_score(hits, falling[0]))
