from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from training.config import TemperatureConfig
from training.monitor import Journal, collapse, statistics

ADAPTIVE = TemperatureConfig(kind="adaptive")


def _seen(features: torch.Tensor, tau: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    z = F.normalize(features, dim=1)
    n = len(z)
    tau = torch.tensor(0.1) if tau is None else tau
    return {"features": features, "similarity": (z @ z.T)[None], "tau": tau, "positive": torch.arange(n).roll(n // 2)}


def test_positives_and_negatives_are_told_apart() -> None:
    z = torch.eye(4).repeat(2, 1)  # eight views of four orthogonal images
    tau = torch.full((1, 8, 8), 0.2)
    tau[0, torch.arange(8), torch.arange(8).roll(4)] = 0.03
    numbers = statistics(_seen(z, tau), ADAPTIVE)
    assert numbers["positive_similarity"] == pytest.approx(1)
    assert numbers["negative_similarity"] == pytest.approx(0)
    assert numbers["tau_positive"] == pytest.approx(0.03)
    assert numbers["tau_negative"] == numbers["tau_negative_head0"] == pytest.approx(0.2)
    assert (numbers["tau_positive_at_bound"], numbers["tau_negative_at_bound"]) == (1, 0)
    assert numbers["effective_rank"] == pytest.approx(4, rel=1e-3)


def test_collapse_is_named() -> None:
    torch.manual_seed(0)
    healthy = torch.randn(64, 32)
    assert collapse(statistics(_seen(healthy), ADAPTIVE)) is None
    alike = torch.ones(64, 32) + 0.01 * healthy
    assert "negatives are as alike" in (collapse(statistics(_seen(alike), ADAPTIVE)) or "")
    line = torch.randn(64, 1) * torch.ones(1, 32)
    assert "line" in (collapse(statistics(_seen(line), ADAPTIVE)) or "")
    stuck = statistics(_seen(healthy, torch.full((1, 64, 64), 0.03)), ADAPTIVE)
    assert "bounds" in (collapse(stuck) or "")


def test_a_journal_entered_again_forgets_what_came_later(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 0)
    for step in range(1, 6):
        journal.write(step, loss=float(step))
    journal.close()
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 6, "lo')  # killed in the middle of a line
    again = Journal(tmp_path, 3)
    again.write(4, loss=0.5)
    again.close()
    assert [json.loads(line)["loss"] for line in path.read_text().splitlines()] == [1, 2, 3, 0.5]
