"""A plane through many vectors, and clusters of them, learnt from a sample.

Shapes: N vectors of D components, S of them in the sample, K clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

MAX_CLUSTERS = 10  # as many as colours that can be told apart


@dataclass(frozen=True)
class Projection:
    """The two directions of largest variance (PCA), and centres of clusters (k-means)."""

    mean: Floats  # [D]
    axes: Floats  # [D, 2], unit length
    centres: Floats  # [K, D]
    explained: float  # share of the sample's variance that lies in the plane, 0 to 1

    def place(self, vectors: Floats) -> tuple[Floats, npt.NDArray[np.uint8]]:
        """Coordinates [N, 2] and the number of the nearest centre [N] of vectors [N, D]."""
        squares = np.square(self.centres).sum(axis=1)
        nearest = np.argmin(squares - 2 * (vectors @ self.centres.T), axis=1)
        xy: Floats = ((vectors - self.mean) @ self.axes).astype(np.float32)
        return xy, nearest.astype(np.uint8)


def learn(sample: Floats) -> Projection:
    """From vectors [S, D], of which there is at least one; those of equal input are equal."""
    count, dim = sample.shape
    mean = sample.mean(axis=0)
    centred = sample - mean
    # The smaller of the two products of the sample with itself has the same eigenvalues.
    if dim <= count:
        values, vectors = np.linalg.eigh(centred.T @ centred)
        axes = vectors[:, ::-1][:, :2]
    else:
        values, vectors = np.linalg.eigh(centred @ centred.T)
        axes = centred.T @ vectors[:, ::-1][:, :2]
        axes /= np.maximum(np.linalg.norm(axes, axis=0), np.finfo(np.float32).tiny)
    if axes.shape[1] < 2:  # one vector, or one component
        axes = np.pad(axes, ((0, 0), (0, 2 - axes.shape[1])))
    total = float(np.square(centred).sum())
    explained = float(values[::-1][:2].sum()) / total if total > 0 else 1.0
    # An axis has no sign of its own: its largest component is positive, so that a map is the same each time.
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(2)]
    axes = axes * np.where(largest < 0, -1, 1)
    return Projection(mean, axes.astype(np.float32), _centres(sample), min(max(explained, 0.0), 1.0))


def _centres(sample: Floats) -> Floats:
    clusters = max(1, min(MAX_CLUSTERS, round(float(np.sqrt(len(sample) / 2)))))
    kmeans = faiss.Kmeans(
        sample.shape[1], clusters, niter=15, nredo=2, seed=0, min_points_per_centroid=1, max_points_per_centroid=1024
    )
    kmeans.train(np.ascontiguousarray(sample))
    found: Floats = np.asarray(kmeans.centroids, np.float32)
    return found
