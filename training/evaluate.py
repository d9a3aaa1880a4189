"""kNN of a backbone on labelled images, by the one metric of `amcl_serve.evaluation`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from amcl_serve.evaluation.knn import knn_accuracy
from training.config import Config
from training.data import Labelled, Plain, Subset


def normalise(x_N3SS: Tensor, config: Config) -> Tensor:
    """Pixels in [0, 1] -> the network's input: less the mean, over the deviation, channels-last."""
    mean, std = (torch.tensor(v, device=x_N3SS.device).view(1, 3, 1, 1) for v in (config.data.mean, config.data.std))
    return ((x_N3SS - mean) / std).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def features(backbone: nn.Module, subset: Subset, config: Config, device: torch.device) -> npt.NDArray[np.float32]:
    """Features [N, D] of the subset's images, unaugmented, in their order; the backbone keeps the mode it was in."""
    plain = Plain(subset.images, subset.indices, config.data.image_size)
    loader: Iterable[Tensor] = DataLoader(plain, batch_size=256, num_workers=config.data.workers)
    training = backbone.training
    backbone.eval()
    bf16 = config.train.precision == "bf16"
    rows = []
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for pixels in loader:
            x = normalise(pixels.to(device).float().div_(255), config)
            rows.append(backbone(x).float().cpu().numpy())
    backbone.train(training)
    return np.concatenate(rows)


def knn(backbone: nn.Module, labelled: Labelled, config: Config, device: torch.device) -> float:
    """Accuracy of the config's `eval.k` nearest neighbours (cosine, exponential weights at 0.1) in the bank."""
    bank, queries = (features(backbone, part, config, device) for part in (labelled.bank, labelled.queries))
    return knn_accuracy(bank, labelled.bank.labels, queries, labelled.queries.labels, k=min(config.eval.k, len(bank)))
