"""kNN accuracy against a loop-written vote, against scikit-learn, and its properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from amcl_serve.metrics import knn
from amcl_serve.metrics.knn import knn_accuracy


def blobs(count, *, classes=5, dims=8, noise=0.9, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    centres = np.random.default_rng(99).normal(size=(classes, dims))
    return (centres[labels] + noise * rng.normal(size=(count, dims))).astype(np.float32), labels


def loop_accuracy(train, train_labels, test, test_labels, k, weighting, temperature):
    """The definition, one image at a time, in float64."""
    correct = 0
    for x, label in zip(test.astype(float), test_labels, strict=True):
        sims = [float(x @ t / (np.linalg.norm(x) * np.linalg.norm(t))) for t in train.astype(float)]
        order = sorted(range(len(sims)), key=lambda i: (-sims[i], i))[:k]
        votes: dict[int, float] = {}
        for i in order:
            weight = math.exp(sims[i] / temperature) if weighting == "exponential" else 1.0
            votes[int(train_labels[i])] = votes.get(int(train_labels[i]), 0.0) + weight
        winner = min(votes, key=lambda c: (-votes[c], c))
        correct += winner == label
    return correct / len(test)


@pytest.mark.parametrize("weighting", ["uniform", "exponential"])
@pytest.mark.parametrize("k", [1, 5, 20, 60])
def test_equals_the_definition_written_as_loops(weighting, k):
    train, train_labels = blobs(60, seed=1)
    test, test_labels = blobs(40, seed=2)
    expected = loop_accuracy(train, train_labels, test, test_labels, k, weighting, 0.1)
    got = knn_accuracy(train, train_labels, test, test_labels, k=k, weighting=weighting, temperature=0.1)
    assert got == pytest.approx(expected)


def test_uniform_vote_equals_scikit_learn():
    train, train_labels = blobs(300, seed=3)
    test, test_labels = blobs(200, seed=4)
    reference = KNeighborsClassifier(n_neighbors=9, metric="cosine", algorithm="brute").fit(train, train_labels)
    assert knn_accuracy(train, train_labels, test, test_labels, k=9, weighting="uniform") == pytest.approx(
        reference.score(test, test_labels)
    )


def test_several_k_at_once_equal_one_at_a_time():
    train, train_labels = blobs(100, seed=5)
    test, test_labels = blobs(50, seed=6)
    together = knn_accuracy(train, train_labels, test, test_labels, k=(1, 7, 20))
    assert together == {k: knn_accuracy(train, train_labels, test, test_labels, k=k) for k in (1, 7, 20)}


def test_blocks_change_nothing(monkeypatch):
    train, train_labels = blobs(100, seed=7)
    test, test_labels = blobs(53, seed=8)
    whole = knn_accuracy(train, train_labels, test, test_labels, k=5)
    monkeypatch.setattr(knn, "_CHUNK_BYTES", 4 * 100 * 7)  # 7 test images a block, the last one short
    assert knn_accuracy(train, train_labels, test, test_labels, k=5) == whole


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(0, 10_000))
def test_scale_of_features_and_order_of_test_images_do_not_matter(scale, seed):
    train, train_labels = blobs(50, seed=9)
    test, test_labels = blobs(30, seed=10)
    order = np.random.default_rng(seed).permutation(30)
    base = knn_accuracy(train, train_labels, test, test_labels, k=5)
    assert knn_accuracy(train * scale, train_labels, test[order], test_labels[order], k=5) == base


def test_equal_neighbours_are_taken_in_order_of_index():
    train = np.ones((50, 4), np.float32)  # all the same image: the first five decide
    labels = np.array([3] * 5 + [1] * 45)
    assert knn_accuracy(train, labels, train[:1], [3], k=5) == 1.0
    assert knn_accuracy(train, labels, train[:1], [1], k=50) == 1.0


def test_equal_votes_go_to_the_smaller_label():
    train = np.eye(2, dtype=np.float32)
    assert knn_accuracy(train, [9, 4], [[1.0, 1.0]], [4], k=2) == 1.0


def test_a_low_temperature_does_not_overflow():
    train, train_labels = blobs(30, seed=11)
    assert knn_accuracy(train, train_labels, train, train_labels, k=5, temperature=1e-4) == 1.0


def test_names_can_be_labels_and_unknown_ones_count_as_wrong():
    assert knn_accuracy(np.eye(2), ["cat", "dog"], np.eye(2), ["cat", "eel"], k=1) == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_features": np.zeros((0, 3))}, "training features must be a non-empty"),
        ({"test_features": np.zeros((0, 3)), "test_labels": []}, "test features must be a non-empty"),
        ({"test_features": np.zeros(3)}, "test features must be a non-empty"),
        ({"train_labels": [0]}, "need as many labels"),
        ({"test_features": np.ones((2, 4))}, "3 dims, test features 4"),
        ({"train_features": np.full((2, 3), np.nan)}, "NaN"),
        ({"k": 0}, r"k must lie in \[1, 2\]"),
        ({"k": 3}, r"k must lie in \[1, 2\]"),
        ({"k": []}, r"k must lie in \[1, 2\]"),
        ({"weighting": "linear"}, "weighting must be"),
        ({"temperature": 0.0}, "temperature must be positive"),
    ],
)
def test_bad_input_is_named(change, message):
    good = {
        "train_features": np.ones((2, 3)),
        "train_labels": [0, 1],
        "test_features": np.ones((2, 3)),
        "test_labels": [0, 1],
        "k": 1,
    }
    with pytest.raises(ValueError, match=message):
        knn_accuracy(**{**good, **change})
