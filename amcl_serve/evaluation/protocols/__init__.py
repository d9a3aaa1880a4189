"""What is measured, by what a dataset has: nothing but images, labels, or pairs."""

from __future__ import annotations

from amcl_serve.evaluation.dataset import Dataset
from amcl_serve.evaluation.protocols.label_free import LabelFree

__all__ = ["LabelFree", "protocol_for"]


def protocol_for(dataset: Dataset, *, seed: int = 0, limit: int = 0) -> LabelFree:
    """The protocol that makes the most of what the dataset has; `limit`: images looked at, 0 for all."""
    return LabelFree(seed=seed, limit=limit)
