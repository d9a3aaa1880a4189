from __future__ import annotations

from typing import Any

import pytest

from app.show import cards

QUALITY = {"expected_calibration_error": 0.031, "brier": 0.05, "accuracy": 0.95}
MODEL: dict[str, Any] = {
    "name": "tiny",
    "default": True,
    "provider": "CPUExecutionProvider",
    "dim": 16,
    "heads": 2,
    "precision": "fp32",
    "input": {"size": 8},
    "metrics": {},
    "method": "simclr",
    "backbone": "resnet18",
    "licence": "",
    "description": "",
    "digest": "sha256:0",
    "calibration": None,
    "own_calibration": None,
}
OWN = {
    "dataset": "<pairs>.zip",
    "created": "2026-01-02T03:04:05+00:00",
    "data_digest": "sha256:1",
    "fitted": 40,
    "held_out": 41,
    "before": QUALITY | {"expected_calibration_error": 0.47},
    "after": QUALITY,
}


def test_a_model_without_calibration_says_so() -> None:
    assert "gives scores, no probabilities" in cards.card(MODEL)


def test_the_cards_calibration_is_told_with_its_protocol() -> None:
    shown = cards.card(MODEL | {"calibration": QUALITY | {"protocol": "on held-out views"}})
    assert "By its card" in shown
    assert "on held-out views" in shown
    assert "uncalibrate" not in shown


@pytest.mark.parametrize(("before", "told"), [(OWN["before"], "0.470 → 0.031"), (None, ">0.031<")])
def test_an_own_calibration_is_told_and_can_be_undone(before: object, told: str) -> None:
    shown = cards.card(MODEL | {"calibration": QUALITY, "own_calibration": OWN | {"before": before}})
    assert told in shown
    assert "&lt;pairs&gt;.zip" in shown
    assert "<pairs>" not in shown
    assert 'data-act="uncalibrate"' in shown
