"""One score of a pair from its heads' similarities: temperature is a variance, so heads combine by inverse variance.

Shapes: P pairs, C heads.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def head_score(similarity: npt.ArrayLike, temperature: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Σ_c s_c/τ_c / Σ_c 1/τ_c of each pair: cosines [P, C] and temperatures [P, C] -> [P], in [−1, 1].

    The plain mean of the heads where the temperature is constant, and the cosine itself where there is one head; so
    scores of models with different heads and temperatures share one scale. Raises ValueError for shapes that differ
    and for temperatures that are not positive.

    >>> head_score([[0.9, 0.3]], [[0.1, 0.2]]).round(6)
    array([0.7])
    """
    similarity_PC, temperature_PC = (np.asarray(each, dtype=np.float64) for each in (similarity, temperature))
    if similarity_PC.ndim != 2 or similarity_PC.shape != temperature_PC.shape:
        raise ValueError(
            f"similarities and temperatures must share one shape [pairs, heads]; "
            f"got {similarity_PC.shape} and {temperature_PC.shape}"
        )
    if not (temperature_PC > 0).all():
        raise ValueError("temperatures must be positive")
    precision_PC = 1 / temperature_PC
    score_P: npt.NDArray[np.float64] = (similarity_PC * precision_PC).sum(axis=1) / precision_PC.sum(axis=1)
    return score_P.clip(-1, 1)
