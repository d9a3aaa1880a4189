"""What a verdict in training costs on photographs: `python -m benchmarks.training.judging [--photos 100]`.

Photographs of 12 megapixels are made (`benchmarks.training.photos`), without labels, and a ResNet-18 of width 16 at
64 px is judged on them twice, as `--eval` does: reading them whole, reduced without a cache, and with one. The first
verdict also judges the untrained network. It prints seconds of both, `later_over_whole` of the second, and pair AUROC
and RankMe of each way, which differ as views of whole and of reduced photographs do. Three minutes on two cores.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import repeat
from pathlib import Path

import torch

from benchmarks.training.photos import write
from training import config as configs
from training import data, machine
from training.config import recipes
from training.judging.judge import Judge
from training.model.model import untrained

WORDS = ("backbone.width=16", "train.device=cpu")
WHOLE, CACHED = "whole", "reduced, cache"
WAYS = {WHOLE: ("data.reduce=never",), "reduced, no cache": ("data.cache_gib=0",), CACHED: ()}


def verdicts(folder: Path, out: Path, words: Sequence[str]) -> tuple[list[float], dict[str, float]]:
    """Seconds of two verdicts, and the figures of the last."""
    spec = f"folder:{folder}"
    config = configs.override(recipes.recipe("simclr"), [*WORDS, f"data.eval_spec={spec}", *words])
    config = machine.resolve(configs.validate(config))
    torch.set_num_threads(config.train.threads)
    judge = Judge(config, data.open_images(spec), data.open_cache("", out, config.data.cache_gib))
    model, seconds = untrained(config), []
    for _ in range(2):
        began = time.perf_counter()
        found = judge(model, torch.device("cpu"))
        seconds.append(time.perf_counter() - began)
    return seconds, found.numbers


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training.judging", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--photos", type=int, default=100, metavar="N", help="(100)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="photos-") as temporary:
        folder = Path(temporary) / "photos"
        folder.mkdir()
        with multiprocessing.Pool(machine.cores()) as pool:
            pool.starmap(write, zip(repeat(folder), range(options.photos)))
        print(f"{options.photos} photographs, {machine.cores()} cores; seconds of the first verdict and of the second")
        later = {}
        for name, words in WAYS.items():
            seconds, numbers = verdicts(folder, Path(temporary) / name.replace(" ", "-"), words)
            later[name] = seconds[1]
            figures = ", ".join(f"{key} {numbers[f'label_free/{key}']:.4f}" for key in ("pair_auroc_abcde", "rankme"))
            print(f"{name:18s} {seconds[0]:7.1f} {seconds[1]:7.1f}   {figures}", flush=True)
    print(f"later_over_whole = {later[WHOLE] / later[CACHED]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
