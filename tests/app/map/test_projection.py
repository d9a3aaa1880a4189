from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from app.map.projection import learn


@pytest.mark.parametrize(("count", "dim"), [(200, 12), (9, 40)])
def test_the_plane_is_that_of_pca(count: int, dim: int) -> None:
    rng = np.random.default_rng(0)
    sample = (rng.normal(size=(count, dim)) * np.linspace(3, 0.1, dim) + 2).astype(np.float32)
    plane = learn(sample)
    reference = PCA(2, svd_solver="full").fit(sample)
    xy, _ = plane.place(sample)
    np.testing.assert_allclose(np.abs(xy), np.abs(reference.transform(sample)), atol=1e-3)
    assert plane.explained == pytest.approx(reference.explained_variance_ratio_.sum(), abs=1e-4)


def test_far_groups_are_clusters() -> None:
    rng = np.random.default_rng(0)
    centres = 20 * np.eye(4, 8, dtype=np.float32)
    sample = np.repeat(centres, 8, axis=0) + rng.normal(0, 0.1, (32, 8)).astype(np.float32)
    _, clusters = learn(sample).place(sample)
    assert [len(set(clusters[8 * i : 8 * i + 8].tolist())) for i in range(4)] == [1, 1, 1, 1]
    assert len(set(clusters.tolist())) == 4


@pytest.mark.parametrize("shape", [(1, 5), (2, 5), (6, 1)])
def test_few_points_and_few_components_have_a_plane(shape: tuple[int, int]) -> None:
    sample = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    plane = learn(sample)
    assert np.isfinite(plane.place(sample)[0]).all()
    assert 0 <= plane.explained <= 1


def test_equal_points_lie_on_one_spot() -> None:
    plane = learn(np.ones((7, 3), np.float32))
    assert np.ptp(plane.place(np.ones((7, 3), np.float32))[0]) == 0
    assert plane.explained == 1
