from __future__ import annotations

import numpy as np
import pytest

from amcl_serve.vectors.values import as_vector, as_vectors


@pytest.mark.parametrize("distance", ["Cosine", "Dot", "Euclid"])
@pytest.mark.parametrize("size", [1, 2, 7, 8, 129, 512, 1000])
def test_one_vector_and_one_of_many_are_the_same_to_the_last_bit(distance, size):
    rng = np.random.default_rng(size)
    scale = 10.0 ** rng.integers(-200, 17, (60, 1)) ** (rng.random((60, 1)) < 0.5)
    vectors = (rng.normal(size=(60, size)) * scale / np.sqrt(size)).tolist()
    together = as_vectors(vectors, size, distance)
    for vector, found in zip(vectors, together, strict=True):
        assert as_vector(vector, size, distance).tobytes() == found.tobytes()
