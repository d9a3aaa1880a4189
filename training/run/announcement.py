"""What a run says of itself before its first step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from training.config import Config
from training.data import Images
from training.machine import distributed
from training.methods.base import Method
from training.run.weights import Begun


def announcement(
    config: Config, method: Method, images: Images, steps: tuple[int, int, int], begun: Begun | None, out: Path
) -> Iterator[str]:
    """Lines on method, size, machine and where it begins; `steps` are the first, the last and those of the schedule."""
    train, (first, last, total) = config.train, steps
    millions = sum(p.numel() for p in method.model.parameters()) / 1e6
    processes = f"{distributed.world_size()} processes of " if distributed.world_size() > 1 else ""
    yield (
        f"{config.recipe}, C = {config.heads.num}, {config.temperature.kind} temperature, {millions:.1f} M parameters; "
        f"{len(images)} images, {len(images) // train.batch_size} steps an epoch; {processes}{train.device}, "
        f"{train.precision}; steps {first} to {last} of {total}; {out}"
    )
    if processes and train.device == "cpu":
        yield "batch norm sees the images of one process only: SyncBatchNorm needs CUDA"
    if train.init and not first:
        yield f"weights from {train.init}"
    yield from begun.lines() if begun else ()
    if images.note:
        yield f"{config.data.spec}: {images.note}"
