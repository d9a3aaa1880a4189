"""What a run has learnt, in one small JSON object: kNN, linear probe and pairs of its last checkpoint.

    python -m benchmarks.study.quality RUN --data folder:PATH [--knn-only] [--device cuda]

The metrics are those of `python -m training.evaluate` and, of pairs, those of `python -m export`: half of 4,000 query
images fit what there is to fit, the others report. PATH has train/, the bank, and test/ or val/, the queries. Writes
RUN/quality.json and prints it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from amcl_serve.metrics.knn import knn_accuracy
from amcl_serve.metrics.linear_probe import linear_probe
from export.pairs import Pairs, judge
from training import data
from training.config import serialization
from training.data import Subset
from training.judging import inference
from training.judging.pairs import measure_pairs
from training.report.measure import pair_images
from training.report.runs import Run, open_run
from training.run import checkpoint, journal

KNN = (20, 200)
PAIRS = 4000  # images
PRESET = "abcde"
_LAST = ("loss", "effective_rank", "feature_spread")  # of the journal, beside temperatures


def measure(run: Path, spec: str, *, knn_only: bool, device: str) -> dict[str, Any]:
    """Of the run's last checkpoint; ValueError where run or images are unfit."""
    began = time.perf_counter()
    opened, state = open_run(run, device), checkpoint.load(run)
    torch.set_num_threads(state["config"]["train"]["threads"])
    labelled = data.open_labelled(spec, bank_limit=10**9)
    (bank, bank_read), (queries, query_read) = (
        inference.features(opened.model.backbone, part, opened.config, opened.device)
        for part in (labelled.bank, labelled.queries)
    )
    bank, queries = bank[bank_read], queries[query_read]
    labels = labelled.bank.labels[bank_read], labelled.queries.labels[query_read]
    knn = knn_accuracy(bank, labels[0], queries, labels[1], k=[min(k, len(bank)) for k in KNN])
    found: dict[str, Any] = {f"knn_{k}": knn[min(k, len(bank))] for k in KNN}
    if not knn_only:
        fitted = linear_probe(bank, labels[0], queries, labels[1])
        found |= {"linear_probe": fitted.accuracy, "probe": asdict(fitted)} | pairs(opened, labelled.queries)
    return found | {
        "bank": len(bank),
        "queries": len(queries),
        "step": state["step"],
        "seconds": round(state["seconds"], 1),
        "evaluation_seconds": round(time.perf_counter() - began, 1),
        "device": device_name(opened.device),
        "precision": state["config"]["train"]["precision"],
        "journal": last_readings(run),
    }


def pairs(run: Run, queries: Subset) -> dict[str, Any]:
    """What `export.pairs.judge` says of views of the query images, and the temperatures of the reported half."""
    chosen = pair_images(queries, PAIRS, seed=0)
    half = len(chosen) // 2
    if half < 2:
        raise ValueError(f"pairs need 4 or more readable query images; there are {len(chosen)}")
    fit, report = (_pairs(run, queries, part) for part in (chosen[:half], chosen[half : 2 * half]))
    t = run.config.temperature
    judged = judge(fit, report, protocol=f"{half} + {half}", omega=(t.beta, t.eta))
    found: dict[str, Any] = {name: metric.value for name, metric in judged.metrics.items()}
    found["pair_weighting"] = judged.score.weighting
    for kind, rows in (("positive", report.positive), ("negative", ~report.positive)):
        tau, mean = report.temperature[rows], report.heads[rows].mean(axis=1)
        found |= {f"tau_{kind}": float(tau.mean()), f"tau_{kind}_spread": float(tau.std(axis=0).mean())}
        if run.adaptive:
            found[f"tau_{kind}_with_similarity"] = float(np.corrcoef(tau.mean(axis=1), mean)[0, 1])
    return found


def _pairs(run: Run, queries: Subset, chosen: list[int]) -> Pairs:
    subset = Subset(queries.images, np.array(chosen))
    measured = measure_pairs(run.model, subset, (PRESET,), run.config, run.device, seed=0)[PRESET]
    both = (measured.positive, measured.negative)
    return Pairs(*(np.concatenate([getattr(p, name) for p in both]) for name in ("feature", "heads", "temperature")))


def device_name(device: torch.device) -> str:
    """The GPU's name, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def last_readings(run: Path) -> dict[str, float]:
    """The last readings in the run's journal, and its median speed at the full size of images."""
    readings = [line for line in journal.read(run) if "loss" in line]
    if not readings:
        return {}
    last = {k: v for k, v in readings[-1].items() if k in _LAST or k.startswith("tau_")}
    sizes = serialization.read(run).data
    grown = sizes.early_share * readings[-1]["step"] if sizes.early_size else 0
    speeds = [line["images_per_second"] for line in readings if line["step"] > grown]
    return last | {"images_per_second": float(np.median(speeds))}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write and print; 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study.quality", description="What a run has learnt.")
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("--data", required=True, help="labelled images, such as folder:PATH")
    parser.add_argument("--knn-only", action="store_true", help="neither probe nor pairs")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    options = parser.parse_args(arguments)
    try:
        found = measure(options.run, options.data, knn_only=options.knn_only, device=options.device)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    text = json.dumps(found, indent=1)
    (options.run / "quality.json").write_text(text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
