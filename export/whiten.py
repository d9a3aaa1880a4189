"""Whitening of features: the last layer of an exported encoder, fitted on unlabelled images.

The features of a network that ends in a ReLU all lie in one corner: those of unrelated photographs have cosines of 0.7
to 0.9. Less their mean they have 0 on average; and a few directions of large variance then say most of every cosine,
which dividing by a power of their deviation evens out. Legend: N images, D dims of a feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

Kind = Literal["half", "full", "centre", "none"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_POWER: dict[Kind, float] = {"centre": 0.0, "half": 0.25, "full": 0.5}  # of the eigenvalues, by which is divided
_SMALLEST = 1e-4  # eigenvalue, of the mean one: a direction in which nothing varies is not blown up

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Whitening:
    """y = (x − centre) @ matrix, of features x [N, D]; `centre` [D], `matrix` [D, D]."""

    centre: Floats
    matrix: Floats


def fit(features: npt.ArrayLike, kind: Kind) -> Whitening | None:
    """The whitening of `kind` by the mean and covariance of features [N, D]; None for "none".

    matrix = V (λ/λ̄)^(−p) Vᵀ with the covariance's eigenvectors V and eigenvalues λ, p = 1/2 for "full" (unit
    variance everywhere), 1/4 for "half", 0 for "centre". The covariance is Ledoit and Wolf's (2004), which stays sound
    where there are few images. ValueError for fewer than two images or numbers that are not finite.
    """
    if kind == "none":
        return None
    x_ND = np.asarray(features, dtype=np.float64)
    if x_ND.ndim != 2 or len(x_ND) < 2 or not np.isfinite(x_ND).all():
        raise ValueError(f"whitening needs finite features [N, D] of at least two images, not of shape {x_ND.shape}")
    centre_D = x_ND.mean(axis=0)
    if kind == "centre":
        return Whitening(centre_D.astype(np.float32), np.eye(x_ND.shape[1], dtype=np.float32))
    from sklearn.covariance import ledoit_wolf

    covariance_DD, _ = ledoit_wolf(x_ND - centre_D, assume_centered=True)
    values_D, vectors_DD = np.linalg.eigh(covariance_DD)
    share_D = np.maximum(values_D / values_D.mean(), _SMALLEST)
    matrix_DD = (vectors_DD * share_D ** -_POWER[kind]) @ vectors_DD.T
    return Whitening(centre_D.astype(np.float32), matrix_DD.astype(np.float32))
