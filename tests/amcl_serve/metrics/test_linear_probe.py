"""The linear probe against scikit-learn's own pipeline, and what may not choose for it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from amcl_serve.metrics.linear_probe import linear_probe


def blobs(count, *, seed, classes=3, dims=5, noise=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    centres = np.random.default_rng(9).normal(size=(classes, dims))
    return (centres[labels] + noise * rng.normal(size=(count, dims))).astype(np.float32), labels


def test_equals_scikit_learn_on_standardised_features():
    train, train_labels = blobs(300, seed=1)
    test, test_labels = blobs(200, seed=2)
    found = linear_probe(train, train_labels, test, test_labels, regularisations=[1e-2])
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (1e-2 * 300), max_iter=1000))
    assert found.accuracy == pytest.approx(reference.fit(train, train_labels).score(test, test_labels), abs=0.005)
    assert found.regularisation == 1e-2
    assert found.converged


def test_features_far_from_unit_scale_change_nothing():
    train, train_labels = blobs(200, seed=3)
    test, test_labels = blobs(100, seed=4)
    plain = linear_probe(train, train_labels, test, test_labels)
    scale, shift = np.array([1e-3, 1, 1e3, 5, 0.1]), np.array([0, 3, -200, 0, 1])
    moved = linear_probe(train * scale + shift, train_labels, test * scale + shift, test_labels)
    assert moved.accuracy == pytest.approx(plain.accuracy, abs=0.02)


def test_a_dim_that_never_changes_is_harmless():
    train, labels = blobs(100, seed=5)
    with_constant = np.concatenate([train, np.full((100, 1), 7.0)], axis=1)
    assert linear_probe(with_constant, labels, with_constant, labels).accuracy > 0.5


def test_noise_asks_for_regularisation_and_test_labels_choose_nothing():
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    train = np.concatenate([labels[:, None] + rng.normal(size=(200, 1)), rng.normal(size=(200, 150))], axis=1)
    test_labels = np.arange(400) % 2
    test = np.concatenate([test_labels[:, None] + rng.normal(size=(400, 1)), rng.normal(size=(400, 150))], axis=1)
    found = linear_probe(train, labels, test, test_labels, regularisations=[10.0, 1e-6])
    assert found.regularisation == 10.0
    upside_down = linear_probe(train, labels, test, 1 - test_labels, regularisations=[10.0, 1e-6])
    assert upside_down.regularisation == found.regularisation
    assert upside_down.accuracy == pytest.approx(1 - found.accuracy)


def test_names_as_labels_and_the_same_answer_twice():
    train, labels = blobs(90, seed=6)
    names = np.array(["ant", "bee", "cow"])[labels]
    first, second = (linear_probe(train, names, train, names, seed=3) for _ in range(2))
    assert first == second
    assert first.accuracy == linear_probe(train, labels, train, labels, seed=3).accuracy


def test_a_class_of_one_image_is_still_learnt():
    train = np.array([[0.0, 0], [0.1, 0], [0, 0.1], [5, 5], [9, -9]])
    labels = ["a", "a", "a", "b", "c"]
    assert linear_probe(train, labels, train, labels, regularisations=[1e-4]).accuracy == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_labels": [0] * 4}, "two classes"),
        ({"train_labels": [0, 1, 2, 3]}, "at least two images"),
        ({"train_labels": [0]}, "as many labels"),
        ({"train_features": [[np.inf, 0.0]] * 4}, "NaN"),
        ({"test_features": [[1.0]]}, "dims"),
        ({"regularisations": [0.0]}, "positive"),
        ({"validation_share": 1.0}, "validation_share"),
    ],
)
def test_wrong_input_is_named(change, message):
    good = {
        "train_features": np.eye(4)[:, :2],
        "train_labels": [0, 0, 1, 1],
        "test_features": [[1.0, 1.0]],
        "test_labels": [0],
    }
    with pytest.raises(ValueError, match=message):
        linear_probe(**{**good, **change})
