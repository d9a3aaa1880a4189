"""A backbone on images as they are: its features, and kNN by the one metric of `amcl_serve.metrics`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from amcl_serve.metrics.knn import knn_accuracy
from training.config import Config
from training.data import Labelled, Numbers, Plain, Subset, leave_signals_to_the_parent
from training.machine.precision import mixed_precision
from training.model.normalise import normalise


@dataclass(frozen=True)
class Knn:
    """Accuracy of `k` nearest neighbours, how many images could not be read, and what it looked at."""

    accuracy: float
    k: int
    broken: int
    queries: npt.NDArray[np.float32]  # features [N, D], of the queries that could be read
    indices: Numbers  # [N], which these are


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode, and then in the mode it was in."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


@torch.inference_mode()
def features(
    backbone: nn.Module, subset: Subset, config: Config, device: torch.device
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Features [N, D] of the subset's images, unaugmented, in their order, and which of them could be read.

    The backbone keeps the mode it was in.
    """
    loader: Iterable[tuple[Tensor, Tensor]] = DataLoader(
        Plain(subset.reader, subset.indices, config.data.image_size),
        batch_size=256,
        num_workers=config.data.workers,
        worker_init_fn=leave_signals_to_the_parent,
    )
    rows, read = [], []
    with evaluating(backbone), mixed_precision(device, config.train):
        for pixels, good in loader:
            x = normalise(pixels.to(device).permute(0, 3, 1, 2).float().div_(255), config.data)
            rows.append(backbone(x).float().cpu().numpy())
            read.append(good.numpy())
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
    broken = int((~bank_read).sum() + (~query_read).sum())
    return Knn(accuracy, k, broken, queries[query_read], labelled.queries.indices[query_read])
