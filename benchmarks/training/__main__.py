"""How fast training is: `make bench-training`.

    python -m benchmarks.training [--data folder:PATH] [--device cuda] [--only compute|lightly|adaptive] [--table]

- `of_compute_bound`: images a second of training as `training.pretrain` does it, from images to logging, over the same
  steps on a fixed batch, with images kept on the device and with workers that read JPEG files; the smaller of the two.
- `vs_lightly`: images a second, from images to weights, over lightly's SimCLR with the same network, batch, images,
  augmentations and precision; the smaller of fp32 and bf16. `vs_lightly_default` is our default (bf16 where the
  processor has it) over lightly's (fp32 and its example's augmentations).
- `adaptive_step_cost`: how much longer SimCLR's step takes with three heads and adaptive temperatures than with one
  head and a constant one, on fixed views.

SimCLR, ResNet-18 with the `cifar` stem, 32 px. Both sides of a ratio take turns in blocks of steps in one process; a
ratio is the median over pairs of blocks. `--table` measures the six methods instead. About 10 minutes on two cores.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.training.costs import HEADER, rows
from benchmarks.training.images import write_images
from benchmarks.training.lightly_step import Lightly, best_workers, example_transform, faster_layout, our_transform
from benchmarks.training.turns import Blocks, Pace, against, alternate, fixed_batch
from training import data, machine
from training.config import Config, override, recipes
from training.run.trainer import Trainer

IMAGES, SIZE = 4096, 32
BATCH, LIGHTLY_BATCH, TABLE_BATCH = 512, 256, 128  # 256: of lightly's example, and our default
FIGURES = ("of_compute_bound", "vs_lightly", "adaptive_step_cost")  # printed last
PARTS = ("compute", "lightly", "adaptive")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = _parse(arguments)
    with _images(options.data) as spec:
        bench = Bench(options, spec)
        bench.introduce()
        if options.table:
            print(HEADER, flush=True)
            for row in rows(lambda config: bench.config(TABLE_BATCH, base=config), bench.pace):
                print(row, flush=True)
            return 0
        figures: dict[str, str] = {}
        for part in [options.only] if options.only else PARTS:
            figures |= getattr(bench, part)()
    for name in sorted(figures, key=FIGURES.__contains__):
        print(f"{name} = {figures[name]}")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training", description="Measure how fast training is.", allow_abbrev=False
    )
    parser.add_argument("--data", help=f"such as folder:PATH, images of {SIZE} px; default: {IMAGES} drawn ones")
    parser.add_argument("--only", choices=PARTS, help="one part of the figures")
    parser.add_argument("--table", action="store_true", help="a table of the six methods instead")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--batch", type=int, help=f"images a step; {BATCH}, against lightly {LIGHTLY_BATCH}")
    parser.add_argument("--width", type=int, default=64, help="channels of the ResNet's first stage")
    parser.add_argument("--blocks", type=int, default=5, help="timed blocks of each way")
    parser.add_argument("--steps", type=int, default=0, help="steps of a block; 0: as many as take --seconds")
    parser.add_argument("--seconds", type=float, default=2.0, help="a block lasts at least")
    return parser.parse_args(arguments)


@contextmanager
def _images(spec: str | None) -> Iterator[str]:
    if spec:
        yield spec
        return
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), IMAGES, SIZE)
        yield f"folder:{folder}"


class Bench:
    """The three parts, each a method that prints what it measures and returns the figures for the end."""

    def __init__(self, options: argparse.Namespace, spec: str) -> None:
        self.options, self.spec = options, spec
        self.pace = Pace(options.blocks, options.seconds, options.steps)

    def config(self, batch: int, *changes: str, base: Config | None = None) -> Config:
        """The recipe `base`, SimCLR's by default, at the benchmark's size; its schedule does not end."""
        o = self.options
        common = (
            f"data.spec={self.spec}",
            f"data.image_size={SIZE}",
            "backbone.stem=cifar",
            f"train.batch_size={o.batch or batch}",
            f"train.device={o.device}",
            "train.epochs=1000000",
            "train.checkpoint_every=1000000",
            "train.collapse_patience=0",
        )
        config = override(base or recipes.recipe("simclr"), common)
        vit = config.backbone.name == "vit"
        return machine.resolve(override(config, ["backbone.patch=4" if vit else f"backbone.width={o.width}", *changes]))

    def introduce(self) -> None:
        """What runs where."""
        config, o = self.config(BATCH), self.options
        device = torch.cuda.get_device_name() if o.device.startswith("cuda") else platform.processor() or "CPU"
        print(
            f"{device}, {config.train.threads} threads, torch {torch.__version__}; {len(data.open_images(self.spec))} "
            f"images ({o.data or 'drawn for this run'}); SimCLR, ResNet-18 of width {o.width}, cifar stem, {SIZE} px; "
            f"our default precision here: {config.train.precision}",
            flush=True,
        )

    def compute(self) -> dict[str, str]:
        """The input pipeline against fixed views; a narrow network, ten times as fast, asks more of it."""
        found: dict[str, float] = {}
        for network, changes in (("", ()), ("_narrow", ("backbone.width=16", "backbone.stem=small"))):
            for source, resident in (("resident", "always"), ("workers", "never")):
                config = self.config(BATCH, f"data.resident={resident}", *changes)
                name = f"of_compute_bound{network}_{source}"
                found[name] = self._report(name, config, against(config, fixed_batch, self.pace), "fixed views")
        figures = {name: f"{value:.3f}" for name, value in found.items()}
        both = min(found["of_compute_bound_resident"], found["of_compute_bound_workers"])
        return figures | {"of_compute_bound": f"{both:.3f}"}

    def lightly(self) -> dict[str, str]:
        """Our training against lightly's: at equal precision, and each as it comes."""
        precisions = [self.config(LIGHTLY_BATCH, f"train.precision={p}") for p in ("fp32", "bf16")]
        source = data.open_images(self.spec)
        images = [source.load(index) for index in range(len(source))]
        layouts = [faster_layout(images, config, self.pace.seconds) for config in precisions]
        workers = best_workers(images, precisions[1], layouts[1], self.pace.seconds)
        orders = ["last" if layout else "first" for layout in layouts]
        print(f"lightly's best: {workers} workers; channels {orders[0]} in fp32, {orders[1]} in bf16", flush=True)
        found = {}
        for config, layout in zip(precisions, layouts, strict=True):
            other = Lightly(images, config, our_transform(config), workers=workers, channels_last=layout)
            name = f"vs_lightly_{config.train.precision}"
            found[name] = self._report(name, config, against(config, other, self.pace), "lightly")
            other.close()
        example = self.config(LIGHTLY_BATCH, "train.precision=fp32")
        other = Lightly(images, example, example_transform(example), workers=workers, channels_last=False)
        ours = self.config(LIGHTLY_BATCH)
        name = "vs_lightly_default"
        default = self._report(name, ours, against(ours, other, self.pace), "lightly")
        other.close()
        figures = {name: f"{value:.2f}" for name, value in (found | {name: default}).items()}
        return figures | {"vs_lightly": f"{min(found.values()):.2f}"}

    def adaptive(self) -> dict[str, str]:
        """Three heads and adaptive temperatures against one head and a constant one."""
        standard = self.config(BATCH)
        with tempfile.TemporaryDirectory() as folder:
            trainers = [
                Trainer(config, Path(folder) / kind, None)
                for kind, config in (("adaptive", recipes.adaptive(standard)), ("standard", standard))
            ]
            device = trainers[0].device
            views = torch.rand(2 * standard.train.batch_size, 3, SIZE, SIZE, device=device)

            def steps_of(trainer: Trainer):
                return lambda steps: fixed_batch(trainer, views, steps)

            blocks = alternate(steps_of(trainers[0]), steps_of(trainers[1]), device, self.pace)
            for trainer in trainers:
                trainer.reporter.close()
        speed = self._report("adaptive_step_cost", standard, blocks, "standard")
        return {"adaptive_step_cost": f"{100 * (1 / speed - 1):.1f} %"}

    def _report(self, name: str, config: Config, blocks: Blocks, other: str) -> float:
        batch = config.train.batch_size
        ours, theirs = blocks.rates(batch)
        print(
            f"{name}: {ours:.1f} images/s, {other} {theirs:.1f}; ratio {blocks.speedup:.3f}, median of "
            f"{len(blocks.ours)} pairs of blocks, {blocks.size} steps of batch {batch} each, {config.train.precision}",
            flush=True,
        )
        return blocks.speedup


if __name__ == "__main__":
    sys.exit(main())
