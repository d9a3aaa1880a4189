"""What `SmallMapConv2d` saves: a training step of ResNet-18 at 64 px on this machine's CPU, with it and without it.

    python -m benchmarks.training.step

Both networks take turns step by step on the same fixed batch; prints medians and `small_map_speedup = …`.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

import torch
from torch import nn

from training import machine
from training.config import recipes
from training.machine.precision import mixed_precision
from training.methods.base import Step
from training.methods.simclr import SimCLR
from training.model.backbones import SmallMapConv2d

STEPS, BATCH = 9, 256


def main() -> None:
    """Measure and print."""
    config = recipes.adaptive(recipes.recipe("simclr"))
    config = machine.resolve(replace(config, backbone=replace(config.backbone, stem="imagenet")))
    torch.set_num_threads(config.train.threads)
    ours, plain = (_method(config, small_maps) for small_maps in (True, False))
    views = torch.randn(2 * BATCH, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    seconds: dict[str, list[float]] = {"matrix products": [], "convolutions": []}
    for step in range(STEPS + 2):
        for name, method in zip(seconds, (ours, plain), strict=True):
            began = time.perf_counter()
            with mixed_precision(torch.device("cpu"), config.train):
                loss, _ = method(views, Step(step, 0.0, 0))
            loss.backward()
            method.zero_grad()
            if step >= 2:  # the first two warm up
                seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name:16s} {median:.3f} s a step, {BATCH / median:.0f} images/s ({config.train.precision})")
    print(f"small_map_speedup = {medians['convolutions'] / medians['matrix products']:.2f}")


def _method(config, small_maps: bool) -> SimCLR:
    method = SimCLR(config).to(memory_format=torch.channels_last).train()
    for module in method.modules():
        if isinstance(module, SmallMapConv2d) and not small_maps:
            module.__class__ = nn.Conv2d
    return method


if __name__ == "__main__":
    main()
