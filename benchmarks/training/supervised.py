"""The same network with labels: what these images allow. Cross-entropy, shifted crops and flips, one cycle of SGD."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.study.quality import device_name
from training import machine
from training.config import Config, override, recipes, validate
from training.data import FolderImages
from training.data.resident import load
from training.machine.precision import mixed_precision
from training.model import backbones
from training.model.normalise import normalise

SIZE = ("data.image_size=32", "backbone.stem=cifar", "train.batch_size=512", "train.weight_decay=5e-4")
PEAK = 0.4  # learning rate at batch 512
PAD = 4  # pixels, as for CIFAR everywhere


def train(cifar: Path, *, epochs: int, device: str, words: Sequence[str]) -> dict[str, Any]:
    """Train on CIFAR/train for so many epochs, and the accuracy on CIFAR/test after the last of them.

    ValueError for images or words that do not fit.
    """
    began = time.perf_counter()
    config = override(recipes.simclr(), [*SIZE, f"train.epochs={epochs}", f"train.device={device}", *words])
    config = machine.resolve(validate(config))
    place, batch = machine.device(config), config.train.batch_size
    torch.manual_seed(config.train.seed)
    torch.set_num_threads(config.train.threads)
    (x, y, classes), (test_x, test_y, test_classes) = (_load(cifar / part, place) for part in ("train", "test"))
    if classes != test_classes:
        raise ValueError(f"train/ and test/ of {cifar} hold different classes")
    backbone, dim = backbones.build(config.backbone, config.data.image_size)
    model = nn.Sequential(backbone, nn.Linear(dim, len(classes))).to(place).to(memory_format=torch.channels_last)
    peak = PEAK * batch / 512
    optimiser = torch.optim.SGD(
        model.parameters(), lr=peak, momentum=0.9, nesterov=True, weight_decay=config.train.weight_decay
    )
    per_epoch = len(x) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak, total_steps=epochs * per_epoch, pct_start=0.25)
    for epoch in range(epochs):
        order, total = torch.randperm(len(x), device=place), torch.zeros((), device=place)
        for step in range(per_epoch):
            chosen = order[step * batch : (step + 1) * batch]
            with mixed_precision(place, config.train):
                loss = F.cross_entropy(model(_shifted(x[chosen], config)), y[chosen], label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.detach()
        print(f"epoch {epoch + 1}/{epochs}: loss {float(total) / per_epoch:.3f}", flush=True)
    return {
        "name": "supervised",
        "epochs": epochs,
        "words": list(words),
        "accuracy": _accuracy(model.eval(), test_x, test_y, config),
        "queries": len(test_y),
        "device": device_name(place),
        "precision": config.train.precision,
        "seconds": round(time.perf_counter() - began, 1),
    }


def _load(folder: Path, device: torch.device) -> tuple[Tensor, Tensor, list[str]]:
    """(pixels uint8 [M, 3, S, S], classes [M], their names)."""
    images = FolderImages(folder)
    if images.labels is None:
        raise ValueError(f"the images of {folder} are not labelled: put each class into a folder of its own")
    names, numbers = np.unique(images.labels, return_inverse=True)
    pixels = load(images, min(8, machine.cores()), device, show=False).pixels  # [M, H, 3, W]
    return pixels.transpose(1, 2).contiguous(), torch.from_numpy(numbers).to(device), [str(name) for name in names]


def _shifted(x_B3SS: Tensor, config: Config) -> Tensor:
    """Normalised; each image moved by up to four pixels either way, black beyond its edge, and half of them flipped."""
    b, _, height, width = x_B3SS.shape
    padded = F.pad(x_B3SS, (PAD, PAD, PAD, PAD)).float().div_(255)
    top, left = (torch.randint(0, 2 * PAD + 1, (b, 1), device=x_B3SS.device) for _ in range(2))
    rows = top + torch.arange(height, device=x_B3SS.device)
    columns = torch.arange(width, device=x_B3SS.device).expand(b, -1)
    flip = torch.rand(b, 1, device=x_B3SS.device) < 0.5
    columns = left + torch.where(flip, columns.flip(1), columns)
    picked = padded.permute(0, 2, 3, 1)[torch.arange(b, device=x_B3SS.device)[:, None, None], rows[:, :, None],
                                        columns[:, None, :]]  # fmt: skip
    return normalise(picked.permute(0, 3, 1, 2), config.data)


@torch.inference_mode()
def _accuracy(model: nn.Module, x: Tensor, y: Tensor, config: Config) -> float:
    correct = 0
    for pixels, classes in zip(x.split(1000), y.split(1000), strict=True):
        with mixed_precision(x.device, config.train):
            correct += int((model(normalise(pixels.float().div(255), config.data)).argmax(1) == classes).sum())
    return correct / len(y)
