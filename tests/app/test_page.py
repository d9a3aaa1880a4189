"""What the page says of the model that answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from amcl_serve.model.bundle import CARD_FILE, MODELS_DIR, ModelCard
from app.page import describe, introduce

(CARD,) = MODELS_DIR.glob(f"*/{CARD_FILE}")
TRAINED = ModelCard.model_validate_json(CARD.read_text())


def model(**changes: Any) -> Any:
    card = TRAINED.model_copy(update=changes)
    encoder = SimpleNamespace(precision="fp32", provider="CPUExecutionProvider")
    scorer = SimpleNamespace(calibration=card.calibration)
    return SimpleNamespace(bundle=SimpleNamespace(card=card), encoder=encoder, scorer=scorer)


def headless(**changes: Any) -> Any:
    return model(num_heads=0, head_dim=0, temperature=None, feature_dim=1280, **changes)


def test_a_model_trained_here_looks_through_its_heads() -> None:
    assert "projection heads" in introduce(model())
    assert "1 head, constant temperature" in describe(model(num_heads=1, temperature=constant()))
    assert "3 heads, constant temperature" in describe(model(num_heads=3, temperature=constant()))


def constant() -> Any:
    return SimpleNamespace(kind="constant")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backbone": "timm:vit_small", "training_data": "ImageNet-1k"}, "timm:vit_small, trained on ImageNet-1k"),
        ({"backbone": "onnx", "training_data": "not stated"}, "an ONNX file"),
        ({"backbone": "<b>", "training_data": "a & b"}, "&lt;b&gt;, trained on a &amp; b"),
    ],
)
def test_a_model_from_elsewhere_says_where_from(changes: dict[str, Any], said: str) -> None:
    assert f"</strong> · {said} · 1,280 features, no heads · " in describe(headless(**changes))


def test_a_model_without_heads_says_whether_it_gives_a_verdict() -> None:
    assert "makes a probability and a verdict" in introduce(headless())
    assert "gives no verdict" in introduce(headless(calibration=None))
    assert "heads" not in introduce(headless())


def test_a_calibration_to_own_pairs_counts_as_one_where_the_card_has_none() -> None:
    calibrated = headless(calibration=None)
    calibrated.scorer.calibration = TRAINED.calibration
    assert "makes a probability and a verdict" in introduce(calibrated)
