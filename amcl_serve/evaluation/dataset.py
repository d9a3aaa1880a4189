"""What an evaluation looks at: images with names, and perhaps labels, or pairs of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Pairs:
    """P pairs of a dataset's images by number: first [P], second [P], and whether both show the same thing [P]."""

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    same: npt.NDArray[np.bool_]


class Dataset(Protocol):
    """N images, read one by one; none is held."""

    @property
    def name(self) -> str:
        """For people: a folder, a file, a collection."""

    @property
    def names(self) -> Sequence[str]:
        """Of each image [N]."""

    @property
    def labels(self) -> Sequence[str] | None:
        """[N]; None where nobody gave any."""

    @property
    def pairs(self) -> Pairs | None:
        """None where nobody gave any."""

    def read(self, index: int) -> bytes:
        """The file of one image. Raises AmclError where it is gone or cannot be read."""


class Split(Dataset, Protocol):
    """A dataset that says which of its images are held out: those ask, the others answer."""

    queries: npt.NDArray[np.bool_]  # [N]


def queries_of(dataset: Dataset) -> npt.NDArray[np.bool_] | None:
    """Which images are held out [N]; None of a dataset that does not say."""
    found: npt.NDArray[np.bool_] | None = getattr(dataset, "queries", None)
    return found
