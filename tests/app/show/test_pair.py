from __future__ import annotations

import re
from typing import Any

import pytest

from amcl_serve.model.bundle import CARD_FILE, MODELS_DIR, InputSpec, ModelCard
from app.show import pair as result
from app.show import parts

(CARD,) = MODELS_DIR.glob(f"*/{CARD_FILE}")
TRAINED = ModelCard.model_validate_json(CARD.read_text())
HEADLESS = TRAINED.model_copy(
    update={"num_heads": 0, "head_dim": 0, "temperature": None, "feature_dim": 1280, "input": InputSpec(size=16)}
)


def answer(**changes: Any) -> dict[str, Any]:
    pair = {
        "index": 0,
        "feature_similarity": 0.5,
        "head_similarity": [0.75, -0.25, 1.0],
        "temperature": [0.1, 0.2, 0.05],
        "score": 0.6,
        "uncertainty": 0.0857,
        "probability": 0.731,
        "same": True,
    }
    return {"model": "m", "digest": "sha256:0", "mode": "pairs", "data": [pair | changes]}


def test_a_calibrated_adaptive_pair_has_verdict_figures_and_whiskers() -> None:
    html = result.result(answer(), TRAINED)
    assert result.SAME in html
    assert "73.1 %" in html
    assert html.count("whisker") == 3 + 1  # three, and the note that explains them
    assert "left:50.00%;width:37.50%" in html  # 0 to 0.75 on an axis from -1 to 1
    assert "left:37.50%;width:12.50%" in html  # -0.25 to 0
    assert "left:97.50%;width:2.50%" in html  # 1 ± 0.05 ends at the axis
    assert re.search(r"<dt>Temperature</dt><dd><span[^>]*>0\.086<", html)
    assert "ncertain" not in html.partition("<details")[0]  # no figure of ours bears that name out


def test_a_different_pair_says_so() -> None:
    html = result.result(answer(same=False, probability=0.02), TRAINED)
    assert result.DIFFERENT in html
    assert result.SAME not in html


def test_without_calibration_the_score_stands_alone() -> None:
    html = result.result(answer(probability=None, same=None), TRAINED)
    assert "not calibrated" in html
    assert "Verdict" not in html
    assert "0.600" in html


def test_a_constant_temperature_has_no_whiskers_and_no_temperature_of_its_own() -> None:
    pair = answer(temperature=[0.1, 0.1, 0.1], uncertainty=None)
    html = result.result(pair, TRAINED)
    assert 'class="whisker"' not in html
    assert "0.100 for every pair" in html
    assert re.search(r"<dd><span[^>]*>constant<", html)
    assert "ncertain" not in html.partition("<details")[0]


NONE_OF_HEADS = {"head_similarity": None, "temperature": None, "uncertainty": None, "score": 0.5}


def test_without_heads_the_cosine_of_the_features_is_drawn() -> None:
    html = result.result(answer(**NONE_OF_HEADS), HEADLESS)
    shown = html.partition("<details")[0]
    assert result.SAME in shown
    assert re.search(r"<dt>Score</dt><dd><span[^>]*>0\.500<", shown)
    assert "the cosine of the features; −1 to 1</dd>" in shown
    assert "73.1 %</strong>" in shown
    assert re.search(r"<dt>Features</dt><dd><span[^>]*>1,280<", shown)
    assert re.search(r"<dt>Input</dt><dd><span[^>]*>16 px<", shown)
    assert shown.count('class="bar"') == 1
    assert "left:50.00%;width:25.00%" in shown  # 0 to 0.5 on an axis from -1 to 1
    assert "Head" not in shown
    assert "emperature" not in shown


def test_without_heads_and_calibration_it_says_that_there_is_none() -> None:
    html = result.result(answer(**NONE_OF_HEADS, probability=None, same=None), HEADLESS)
    assert "not calibrated, so there is a score, but no probability" in html
    assert "Verdict" not in html


def test_the_answer_is_shown_to_the_last_digit() -> None:
    html = result.result(answer(score=1 / 3), TRAINED)
    assert str(1 / 3) in html


@pytest.mark.parametrize(
    ("probability", "text"),
    [(0.5, "50.0 %"), (0.99949, "99.9 %"), (0.9996, "over 99.9 %"), (0.0004, "under 0.1 %"), (1.0, "over 99.9 %")],
)
def test_a_probability_is_never_rounded_to_certainty(probability: float, text: str) -> None:
    assert parts.percent(probability) == text


def test_minus_zero_has_no_sign() -> None:
    assert parts.number(-0.0001) == "0.000"
    assert parts.number(-0.25) == "−0.250"


def test_one_image_asks_for_the_other() -> None:
    assert "second" in result.empty(first=True, second=False)
    assert "first" in result.empty(first=False, second=True)
    assert result.EMPTY in result.empty(first=False, second=False)


def test_a_failure_is_escaped() -> None:
    html = result.failure("<script>alert(1)</script>")
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
