"""What an index follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from amcl_serve.vectors.types import Rows, Vectors


@dataclass(frozen=True)
class Change:
    """What a write changed: rows that are gone, those that came, ascending, with their vectors [N, size] and keys, and
    those whose payloads are others.
    """

    version: int  # of the collection, from then on
    removed: Rows
    added: Rows
    vectors: Vectors
    keys: Sequence[str] = ()
    touched: Rows = field(default_factory=lambda: np.empty(0, np.int64))
