"""Linear probe: how much of the classes a linear classifier finds in frozen features.

Shapes: M training images, N test images, D dims.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from amcl_serve.metrics.checks import labelled

REGULARISATIONS = (1e-1, 1e-2, 1e-3, 1e-4)


@dataclass(frozen=True)
class LinearProbe:
    """What the probe found, and how it was chosen."""

    accuracy: float  # share of test images whose class it names
    regularisation: float  # λ, chosen on images of the training set
    validation_accuracy: float  # of that λ there
    converged: bool  # whether the last fit ended before its iterations did


def linear_probe(
    train_features: npt.ArrayLike,
    train_labels: npt.ArrayLike,
    test_features: npt.ArrayLike,
    test_labels: npt.ArrayLike,
    *,
    regularisations: Sequence[float] = REGULARISATIONS,
    validation_share: float = 0.1,
    choose_on: int = 10_000,
    iterations: int = 100,
    seed: int = 0,
) -> LinearProbe:
    """Top-1 accuracy of multinomial logistic regression on standardised features (needs SciPy).

    It minimises mean cross-entropy + λ/2 ‖W‖² by at most `iterations` steps of L-BFGS. λ is the one of
    `regularisations` that is best on a `validation_share` of each training class, drawn by `seed`, for a classifier of
    the rest (at most `choose_on` images of them); of equally good ones the largest. The reported one is fitted to all
    training images. Test labels choose nothing.

    Takes features [M, D] and [N, D] and labels [M] and [N]. Raises ValueError for empty, mismatched or non-finite
    input, for fewer than two training classes, and where no class has an image to spare for validation;
    ImportError where SciPy is not installed.
    """
    found, _ = probed(
        train_features,
        train_labels,
        test_features,
        test_labels,
        regularisations=regularisations,
        validation_share=validation_share,
        choose_on=choose_on,
        iterations=iterations,
        seed=seed,
    )
    return found


def probed(
    train_features: npt.ArrayLike,
    train_labels: npt.ArrayLike,
    test_features: npt.ArrayLike,
    test_labels: npt.ArrayLike,
    *,
    regularisations: Sequence[float] = REGULARISATIONS,
    validation_share: float = 0.1,
    choose_on: int = 10_000,
    iterations: int = 100,
    seed: int = 0,
) -> tuple[LinearProbe, npt.NDArray[np.bool_]]:
    """As `linear_probe`, and which of the test images [N] it names rightly."""
    train_MD, train_names_M = labelled(train_features, train_labels, "training")
    test_ND, test_names_N = labelled(test_features, test_labels, "test")
    if train_MD.shape[1] != test_ND.shape[1]:
        raise ValueError(f"training features have {train_MD.shape[1]} dims, test features {test_ND.shape[1]}")
    if len(np.unique(train_names_M)) < 2:
        raise ValueError("a linear probe needs at least two classes")
    if not regularisations or min(regularisations) <= 0:
        raise ValueError(f"regularisations must be positive numbers, not {regularisations}")

    if choose_on < len(np.unique(train_names_M)):
        raise ValueError(f"choose_on must be at least the number of classes, not {choose_on}")

    held_M = _held_out(train_names_M, validation_share, seed)
    fitted = _of_every_class(train_names_M, np.flatnonzero(~held_M), choose_on, seed)
    scores: dict[float, float] = {}
    centre_D, scale_D = _scales(train_MD[fitted])
    model: _Classifier | None = None
    for each in sorted(regularisations, reverse=True):  # from stiff to loose: each fit starts where the last ended
        model = _fit((train_MD[fitted] - centre_D) / scale_D, train_names_M[fitted], each, iterations, start=model)
        scores[each] = float(np.mean(model.predict((train_MD[held_M] - centre_D) / scale_D) == train_names_M[held_M]))
    best = max(scores, key=lambda each: (scores[each], each))
    centre_D, scale_D = _scales(train_MD)
    model = _fit((train_MD - centre_D) / scale_D, train_names_M, best, iterations)
    correct_N = model.predict((test_ND - centre_D) / scale_D) == test_names_N
    return LinearProbe(float(np.mean(correct_N)), best, scores[best], model.converged), correct_N


def _held_out(names_M: npt.NDArray[Any], share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Which images [M] validate: a share of each class, at least one where a class has two."""
    if not 0 < share < 1:
        raise ValueError(f"validation_share must lie in (0, 1), not {share}")
    rng = np.random.default_rng(seed)
    held_M = np.zeros(len(names_M), dtype=np.bool_)
    for name in np.unique(names_M):
        members = rng.permutation(np.flatnonzero(names_M == name))
        held_M[members[: min(max(1, int(share * len(members))), len(members) - 1)]] = True
    if not held_M.any():
        raise ValueError("a linear probe needs a class of at least two images, one of them to validate")
    return held_M


def _of_every_class(
    names_M: npt.NDArray[Any], candidates: npt.NDArray[np.intp], count: int, seed: int
) -> npt.NDArray[np.intp]:
    """`count` of the candidates, drawn by `seed`, no class left out."""
    shuffled = np.random.default_rng(seed).permutation(candidates)
    _, first = np.unique(names_M[shuffled], return_index=True)
    rest = np.setdiff1d(np.arange(len(shuffled)), first)
    return np.sort(shuffled[np.concatenate([first, rest])[:count]])


def _fit(
    x_MD: npt.NDArray[np.float32],
    names_M: npt.NDArray[Any],
    regularisation: float,
    iterations: int,
    start: _Classifier | None = None,
) -> _Classifier:
    """From the weights of `start`, which knows the same classes, or from zero."""
    from scipy.optimize import minimize

    classes, class_M = np.unique(names_M, return_inverse=True)
    count, (images, dims) = len(classes), x_MD.shape
    at_M = np.arange(images)

    def loss(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        """Mean cross-entropy + λ/2 ‖W‖², and its gradient; the biases are not regularised."""
        weights_DL, bias_L = flat[:-count].reshape(dims, count), flat[-count:]
        logits_ML = x_MD @ weights_DL.astype(np.float32) + bias_L.astype(np.float32)
        logits_ML -= logits_ML.max(axis=1, keepdims=True)
        share_ML = np.exp(logits_ML)
        total_M = share_ML.sum(axis=1)
        value = float(np.mean(np.log(total_M) - logits_ML[at_M, class_M], dtype=np.float64))
        share_ML /= total_M[:, None]
        share_ML[at_M, class_M] -= 1
        share_ML /= images
        gradient_DL = (x_MD.T @ share_ML).astype(np.float64) + regularisation * weights_DL
        value += regularisation / 2 * float(np.sum(weights_DL**2))
        return value, np.concatenate([gradient_DL.ravel(), share_ML.sum(axis=0, dtype=np.float64)])

    begin = np.zeros((dims + 1) * count) if start is None else start.flat
    # The tolerances and the memory of scikit-learn's solver.
    options: Any = {"maxiter": iterations, "gtol": 1e-4, "ftol": 64 * float(np.finfo(float).eps), "maxls": 50}
    found: Any = minimize(loss, begin, jac=True, method="L-BFGS-B", options=options)
    return _Classifier(classes, found.x, bool(found.nit < iterations))


@dataclass(frozen=True)
class _Classifier:
    """Weights [D, L] and biases [L], flat; which `classes` [L] they are of, and whether the fit ended by itself."""

    classes: npt.NDArray[Any]
    flat: npt.NDArray[np.float64]
    converged: bool

    def predict(self, x_ND: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """The class [N] of the highest logit."""
        count = len(self.classes)
        weights_DL = self.flat[:-count].reshape(-1, count).astype(np.float32)
        named: npt.NDArray[Any] = self.classes[np.argmax(x_ND @ weights_DL + self.flat[-count:], axis=1)]
        return named


def _scales(x_MD: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Mean and deviation [D] of each dim; 1 for one that never changes."""
    deviation_D = x_MD.std(axis=0, dtype=np.float64)
    scale_D = np.where(deviation_D > 1e-6 * np.abs(x_MD).max(axis=0), deviation_D, 1)
    return x_MD.mean(axis=0, dtype=np.float64).astype(np.float32), scale_D.astype(np.float32)
