"""What a run has learnt, in one small JSON object: kNN and linear probe of its last checkpoint.

    python -m benchmarks.run_quality RUN --data folder:PATH [--no-probe] [--device cuda]

The metrics are those of `python -m training.evaluate`, without its pairs and figures, which take longer. PATH has
train/, the bank, and test/ or val/, the queries. Writes RUN/quality.json and prints it.
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

import torch

from amcl_serve.evaluation.knn import knn_accuracy
from amcl_serve.evaluation.linear_probe import linear_probe
from training import checkpoint, data, inference
from training.report.runs import open_run

KNN = (20, 200)
_LAST = ("loss", "effective_rank", "feature_spread", "images_per_second")  # of the journal, beside temperatures


def measure(run: Path, spec: str, *, probe: bool, device: str) -> dict[str, Any]:
    """Of the run's last checkpoint; ValueError where run or images are unfit."""
    began = time.perf_counter()
    opened, state = open_run(run, device), checkpoint.load(run)
    labelled = data.open_labelled(spec, bank_limit=10**9)
    (bank, bank_read), (queries, query_read) = (
        inference.features(opened.model.backbone, part, opened.config, opened.device)
        for part in (labelled.bank, labelled.queries)
    )
    bank, queries = bank[bank_read], queries[query_read]
    labels = labelled.bank.labels[bank_read], labelled.queries.labels[query_read]
    knn = knn_accuracy(bank, labels[0], queries, labels[1], k=[min(k, len(bank)) for k in KNN])
    found: dict[str, Any] = {f"knn_{k}": knn[min(k, len(bank))] for k in KNN}
    if probe:
        fitted = linear_probe(bank, labels[0], queries, labels[1])
        found |= {"linear_probe": fitted.accuracy, "probe": asdict(fitted)}
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


def device_name(device: torch.device) -> str:
    """The GPU's name, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def last_readings(run: Path) -> dict[str, float]:
    """The last readings in the run's journal: temperatures, effective rank, speed."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    readings = [line for line in lines if "loss" in line]
    return {k: v for k, v in readings[-1].items() if k in _LAST or k.startswith("tau_")} if readings else {}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write and print; 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run_quality", description="kNN and linear probe.")
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("--data", required=True, help="labelled images, such as folder:PATH")
    parser.add_argument("--no-probe", action="store_true", help="kNN alone")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    options = parser.parse_args(arguments)
    try:
        found = measure(options.run, options.data, probe=not options.no_probe, device=options.device)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    text = json.dumps(found, indent=1)
    (options.run / "quality.json").write_text(text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
