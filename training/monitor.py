"""What a run shows of itself: similarities, temperatures, signs of collapse; in metrics.jsonl and in TensorBoard."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from amcl_serve.evaluation.geometry import effective_rank, feature_spread
from training.config import TemperatureConfig

METRICS_FILE = "metrics.jsonl"
_RANK_ROWS = 512  # of a batch, for the effective rank


def statistics(seen: Mapping[str, Tensor], temperature: TemperatureConfig) -> dict[str, float]:
    """Numbers of one step from `features` [N, D], `similarity` [C, N, M], `tau` [C, N, M] or 0-d, and `positive` [N].

    Similarities and temperatures of positive and negative pairs (mean; spread of τ; share within 1 % of a bound), the
    features' spread times √D (1 when they fill the sphere, 0 at collapse) and effective rank.
    """
    sim_CNM, positive_N = seen["similarity"].float(), seen["positive"]
    heads, rows, columns = sim_CNM.shape
    is_positive = torch.zeros(rows, columns, dtype=torch.bool, device=sim_CNM.device)
    is_positive[torch.arange(rows), positive_N] = True
    is_negative = ~is_positive
    if rows == columns:
        is_negative.fill_diagonal_(False)
    out = {
        "positive_similarity": float(sim_CNM[:, is_positive].mean()),
        "negative_similarity": float(sim_CNM[:, is_negative].mean()),
    }
    if seen["tau"].dim():
        width = 0.01 * (temperature.high - temperature.low)
        for name, chosen in (("tau_positive", is_positive), ("tau_negative", is_negative)):
            tau_CP = seen["tau"].float()[:, chosen]
            out[name], out[f"{name}_spread"] = float(tau_CP.mean()), float(tau_CP.std(dim=1).mean())
            at_bound = (tau_CP < temperature.low + width) | (tau_CP > temperature.high - width)
            out[f"{name}_at_bound"] = float(at_bound.float().mean())
            for head in range(heads):
                out[f"{name}_head{head}"] = float(tau_CP[head].mean())
    features = seen["features"][:_RANK_ROWS].float().cpu().numpy()
    out["feature_spread"] = feature_spread(features) * math.sqrt(features.shape[1])
    out["effective_rank"] = effective_rank(features)
    return out


def collapse(numbers: Mapping[str, float]) -> str | None:
    """A sentence when the numbers of `statistics` look like collapse, else None."""
    if numbers["negative_similarity"] > 0.9:
        return f"collapse: negatives are as alike as positives (mean similarity {numbers['negative_similarity']:.2f})"
    if numbers["feature_spread"] < 0.1:
        return f"collapse: features hardly differ between images (spread {numbers['feature_spread']:.3f} of 1)"
    if numbers["effective_rank"] < 2:
        return f"collapse: features lie on a line (effective rank {numbers['effective_rank']:.1f})"
    if min(numbers.get(f"tau_{kind}_at_bound", 0.0) for kind in ("positive", "negative")) > 0.95:
        return "temperatures stick to their bounds: widen temperature.low/high or change temperature.eta"
    return None


class Journal:
    """metrics.jsonl and TensorBoard of a run; entered at `step`, it forgets what was written of later steps."""

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / METRICS_FILE
        if self.path.exists():
            kept = [line for line in self.path.read_text().splitlines() if _step_of(line) <= step]
            temporary = self.path.with_suffix(".tmp")
            temporary.write_text("".join(line + "\n" for line in kept))
            temporary.replace(self.path)
        self._file = self.path.open("a", buffering=1)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

    def write(self, step: int, **numbers: Any) -> None:
        """One line: the step and its numbers; the numeric ones go to TensorBoard too."""
        self._file.write(json.dumps({"step": step, **numbers}) + "\n")
        for name, value in numbers.items():
            if isinstance(value, (int, float)):
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush both."""
        self._file.close()
        self._board.close()


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf  # a line cut short by a kill
