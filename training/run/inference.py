"""A backbone on images as they are: its features, and kNN by the one metric of `amcl_serve.evaluation`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from amcl_serve.evaluation.knn import knn_accuracy
from training.config import Config
from training.data import Labelled, Plain, Subset, leave_signals_to_the_parent
from training.machine.precision import mixed_precision
from training.model.normalise import normalise


@dataclass(frozen=True)
class Knn:
    """Accuracy of `k` nearest neighbours, and how many images could not be read and were left out."""

    accuracy: float
    k: int
    broken: int


@torch.inference_mode()
def features(
    backbone: nn.Module, subset: Subset, config: Config, device: torch.device
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Features [N, D] of the subset's images, unaugmented, in their order, and which of them could be read.

    The backbone keeps the mode it was in.
    """
    loader: Iterable[tuple[Tensor, Tensor]] = DataLoader(
        Plain(subset.images, subset.indices, config.data.image_size),
        batch_size=256,
        num_workers=config.data.workers,
        worker_init_fn=leave_signals_to_the_parent,
    )
    training = backbone.training
    backbone.eval()
    rows, read = [], []
    try:
        with mixed_precision(device, config.train):
            for pixels, good in loader:
                x = normalise(pixels.to(device).permute(0, 3, 1, 2).float().div_(255), config.data)
                rows.append(backbone(x).float().cpu().numpy())
                read.append(good.numpy())
    finally:
        backbone.train(training)
    return np.concatenate(rows), np.concatenate(read)


def knn(backbone: nn.Module, labelled: Labelled, config: Config, device: torch.device) -> Knn:
    """kNN with the config's `eval.k` (cosine, exponential weights at 0.1); ValueError when features are no numbers."""
    (bank, bank_read), (queries, query_read) = (
        features(backbone, part, config, device) for part in (labelled.bank, labelled.queries)
    )
    k = min(config.eval.k, int(bank_read.sum()))
    accuracy = knn_accuracy(
        bank[bank_read], labelled.bank.labels[bank_read], queries[query_read], labelled.queries.labels[query_read], k=k
    )
    return Knn(accuracy, k, int((~bank_read).sum() + (~query_read).sum()))
