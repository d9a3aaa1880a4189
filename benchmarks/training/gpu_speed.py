"""How fast SimCLR's training is on a GPU, and what share of the chip's peak that is.

    python -m benchmarks.training.gpu_speed [--data folder:CIFAR/train] [--batch 512,1024] [--no-compile] [--device X]

ResNet-18, `cifar` stem, 32 px, bf16, channels-last, images kept on the device. For each batch size, once as it is and
once with `train.compile=true`:

- `end_to_end`: two-view images a second of a run as `training.pretrain` does it, from images to logging;
- `compute_bound`: the same steps on one batch of finished views, in turns with it; `of_compute_bound` is their ratio;
- `of_peak`: the products and sums of those steps, forward and backward, over what the chip can do in bf16;
- `adaptive_step_cost`: how much longer a step takes with three heads and adaptive temperatures, on fixed views.

Peaks are those that NVIDIA states for dense bf16 products; `matmul_tflops` is the rate of a large one, measured here.
Each of these is a line in `--results`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.study.budget import RESULTS, append, commit
from benchmarks.study.quality import device_name
from benchmarks.training.images import write_images
from benchmarks.training.turns import Pace, against, alternate, fixed_batch, timed
from training import machine
from training.config import Config, override, recipes
from training.run.trainer import Trainer

IMAGES, SIZE = 4096, 32
PEAKS = {"H100 PCIe": 756e12, "H100": 989e12, "H200": 989e12, "A100": 312e12}  # a multiply-add is two operations
MATMUL = 8192


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, note and print."""
    options = _parse(arguments)
    with _images(options.data) as spec:
        for batch, compiled in product((int(text) for text in options.batch.split(",")), (False, True)):
            if compiled and options.no_compile:
                continue
            try:
                line = measure(spec, batch, compiled, options)
            except Exception as error:  # of many kinds; the other figures stand
                if not compiled:
                    raise
                print(f"torch.compile failed: {error}".splitlines()[0], flush=True)
                continue
            append(options.results, line)
            for name, value in line.items():
                print(f"{name} = {value}", flush=True)
    return 0


def measure(spec: str, batch: int, compiled: bool, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one batch size, with the network compiled or not."""
    plain, pace = _config(spec, batch, options), Pace(options.blocks, options.seconds, options.steps)
    config, device = override(plain, [f"train.compile={str(compiled).lower()}"]), machine.device(plain)
    blocks = against(config, fixed_batch, pace)
    end_to_end, compute = blocks.rates(batch)
    with tempfile.TemporaryDirectory() as folder:
        standard = Trainer(config, Path(folder) / "standard", None)
        adaptive = Trainer(recipes.adaptive(config), Path(folder) / "adaptive", None)
        views = torch.rand(2 * batch, 3, SIZE, SIZE, device=device)
        countable = Trainer(plain, Path(folder) / "countable", None)  # compiled code is not counted
        flops = _step_flops(countable, views) / batch
        cost = 1 / alternate(_steps(adaptive, views), _steps(standard, views), device, pace).speedup - 1
        for trainer in (standard, adaptive, countable):
            trainer.reporter.close()
    name = device_name(device)
    peak = next((peak for chip, peak in PEAKS.items() if chip in name), None)
    line: dict[str, Any] = {
        "device": name,
        "commit": options.commit,
        "torch": torch.__version__,
        "batch": batch,
        "compiled": compiled,
        "precision": config.train.precision,
        "width": config.backbone.width,
        "end_to_end": round(end_to_end, 1),
        "compute_bound": round(compute, 1),
        "of_compute_bound": round(blocks.speedup, 4),
        "adaptive_step_cost": round(cost, 4),
        "gflops_an_image": round(flops / 1e9, 4),
        "tflops": round(compute * flops / 1e12, 2),
        "of_peak": peak and round(compute * flops / peak, 4),
        "matmul_tflops": round(_matmul_rate(device) / 1e12, 1) if device.type == "cuda" else None,
    }
    return line


def _config(spec: str, batch: int, options: argparse.Namespace) -> Config:
    words = [f"data.spec={spec}", f"data.image_size={SIZE}", "data.resident=always", "backbone.stem=cifar"]
    words += [f"data.workers={min(8, machine.cores())}", f"train.batch_size={batch}", f"train.device={options.device}"]
    words += ["train.epochs=1000000", "train.log_every=100", "train.checkpoint_every=1000000"]
    words += ["train.collapse_patience=0", *options.words]
    return machine.resolve(override(recipes.simclr(), words))


def _steps(trainer: Trainer, views: torch.Tensor) -> Callable[[int], None]:
    return lambda steps: fixed_batch(trainer, views, steps)


def _step_flops(trainer: Trainer, views: torch.Tensor) -> int:
    """Products and sums of matrix products and convolutions in one step, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        fixed_batch(trainer, views, 1)
    return int(counter.get_total_flops())


def _matmul_rate(device: torch.device) -> float:
    """Operations a second of a large bf16 product of random matrices, the median of ten."""
    a, b = (torch.randn(MATMUL, MATMUL, device=device, dtype=torch.bfloat16) for _ in range(2))

    def multiply(times: int) -> None:
        for _ in range(times):
            torch.mm(a, b)

    timed(multiply, 3, device)
    return 2 * MATMUL**3 * 5 / statistics.median(timed(multiply, 5, device) for _ in range(10))


@contextmanager
def _images(spec: str | None) -> Iterator[str]:
    if spec:
        yield spec
        return
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), IMAGES, SIZE)
        yield f"folder:{folder}"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training.gpu_speed", description="Training speed on a GPU."
    )
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="changes of the recipe")
    parser.add_argument("--data", help=f"such as folder:PATH, images of {SIZE} px; default: {IMAGES} drawn ones")
    parser.add_argument("--batch", default="512,1024", help="images a step, one or more")
    parser.add_argument("--no-compile", action="store_true", help="leave out train.compile=true, which takes minutes")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to rehearse")
    parser.add_argument("--blocks", type=int, default=5, help="timed blocks of each way")
    parser.add_argument("--steps", type=int, default=0, help="steps of a block; 0: as many as take --seconds")
    parser.add_argument("--seconds", type=float, default=2.0, help="a block lasts at least")
    parser.add_argument("--results", type=Path, default=RESULTS / "gpu_speed.jsonl", help="file of JSON lines")
    parser.add_argument("--commit", default=commit(), help="to note with each result, where git cannot say it")
    return parser.parse_intermixed_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
