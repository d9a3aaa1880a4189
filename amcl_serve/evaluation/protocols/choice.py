"""Which protocol makes the most of a dataset."""

from __future__ import annotations

from amcl_serve.evaluation.dataset import Dataset
from amcl_serve.evaluation.protocols.label_free import LabelFree
from amcl_serve.evaluation.protocols.labelled import Labelled
from amcl_serve.evaluation.protocols.vectors import Vectors
from amcl_serve.evaluation.protocols.verification import Verification
from amcl_serve.evaluation.stored import stored


def protocol_for(dataset: Dataset, *, seed: int = 0, limit: int = 0) -> LabelFree | Verification:
    """The protocol that makes the most of what the dataset has; `limit`: images looked at, 0 for all.

    All images of given pairs are looked at, whatever the limit.
    """
    if stored(dataset) is not None:
        return Vectors(seed=seed, limit=limit)
    if dataset.pairs is not None:
        return Verification(seed=seed)
    if dataset.labels is not None:
        return Labelled(seed=seed, limit=limit)
    return LabelFree(seed=seed, limit=limit)
