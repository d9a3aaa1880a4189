"""HTML of the result panel: pure functions of what `POST /similarity` answered for one pair."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from amcl_serve.model.bundle import ModelCard
from app.show import parts
from app.show.parts import number, percent, term

SAME = "The same picture"
DIFFERENT = "Different pictures"
EMPTY = "Add two images to compare them"
PROBABILITY = (
    "From the score, by the model’s calibration on held-out pairs, under equal odds: as likely before as not. "
    "The verdict is “the same” from the card’s threshold on."
)
SCORE = "The cosine similarities of the heads, combined with the weights of the model’s card. 1: as alike as can be."
SCORE_OF_FEATURES = "The cosine of the two images’ features. 1: they point the same way; 0: nothing in common."
COSINE = "Cosine of what the backbone says of both images, before any head. High for the same kind of thing."
TEMPERATURE = (
    "Harmonic mean of the temperatures that the model gives this pair in its heads. It is low where the heads were "
    "trained to expect likeness; it is no measure of error."
)
FEATURES = "The length D of the vector that stands for an image, in /embed and in collections."
INPUT = "An image’s shorter side is resized to this, and the centre is kept."


def empty(*, first: bool, second: bool) -> str:
    """The panel before both images are there; `first` and `second` say which one is."""
    if first or second:
        title = f"Now add the {'second' if first else 'first'} image"
        hint = "The result appears as soon as both are here."
    else:
        title, hint = EMPTY, "Drop, paste or choose a file in each box, or take one of the example pairs."
    return parts.empty(title, hint)


def failure(detail: str) -> str:
    """The panel when the pair cannot be scored: one sentence that says what was wrong."""
    return parts.failure("Not compared", detail, "Replace the image and the result follows.")


def result(answer: Mapping[str, Any], card: ModelCard) -> str:
    """The panel for `answer`, the whole body of /similarity with one pair in `data`, by the model of that card.

    Heads whose temperature is the same for every pair are drawn without whiskers; a model without heads has its cosine
    drawn in their place.
    """
    pair = answer["data"][0]
    headless = pair["head_similarity"] is None
    return (
        '<div class="panel" role="status">'
        + _verdict(pair)
        + (_figures_of_features(pair, card) if headless else _figures(pair))
        + (_cosine(pair) if headless else _heads(pair))
        + '<details class="raw"><summary>The API’s answer</summary>'
        + f"<pre>{escape(json.dumps(answer, indent=2))}</pre></details></div>"
    )


def _verdict(pair: Mapping[str, Any]) -> str:
    probability, same = pair["probability"], pair["same"]
    if probability is None:
        return (
            '<div class="verdict verdict-none"><p class="eyebrow">Score</p>'
            f'<h2 class="verdict-text">{number(pair["score"])}</h2>'
            "<p>This model is not calibrated, so there is a score, but no probability and no verdict.</p></div>"
        )
    kind, words = ("same", SAME) if same else ("different", DIFFERENT)
    return (
        f'<div class="verdict verdict-{kind}"><p class="eyebrow">Verdict</p><h2 class="verdict-text">{words}</h2>'
        f'<div class="meter" aria-hidden="true"><span style="width:{100 * probability:.2f}%"></span></div>'
        f"<p>Probability that both show the same picture: "
        f"{term(percent(probability), PROBABILITY, tag='strong')}</p></div>"
    )


def _figures(pair: Mapping[str, Any]) -> str:
    temperature = pair["uncertainty"]  # the API's name for it, which its worth does not bear out
    figures = [
        ("Score", number(pair["score"]), "the heads combined; −1 to 1", SCORE),
        ("Feature cosine", number(pair["feature_similarity"]), "the backbone alone; −1 to 1", COSINE),
        (
            "Temperature",
            "constant" if temperature is None else number(temperature),
            "the same for every pair" if temperature is None else "of this pair; lower where the heads expect likeness",
            TEMPERATURE,
        ),
    ]
    return _cells(figures)


def _figures_of_features(pair: Mapping[str, Any], card: ModelCard) -> str:
    return _cells(
        [
            ("Score", number(pair["score"]), "the cosine of the features; −1 to 1", SCORE_OF_FEATURES),
            ("Features", f"{card.feature_dim:,}", "numbers that each image becomes", FEATURES),
            ("Input", f"{card.input.size} px", "the square that the network sees", INPUT),
        ]
    )


def _cells(figures: Sequence[tuple[str, str, str, str]]) -> str:
    cells = "".join(
        f'<div><dt>{name}</dt><dd>{term(value, why)}</dd><dd class="hint">{hint}</dd></div>'
        for name, value, hint, why in figures
    )
    return f'<dl class="figures">{cells}</dl>'


def _cosine(pair: Mapping[str, Any]) -> str:
    note = "Cosine similarity of the features; this model has no heads."
    return _bars("Features", note, _row("Cosine", pair["feature_similarity"], None))


def _heads(pair: Mapping[str, Any]) -> str:
    constant = pair["uncertainty"] is None
    rows = "".join(
        _row(f"Head {index}", similarity, None if constant else temperature)
        for index, (similarity, temperature) in enumerate(
            zip(pair["head_similarity"], pair["temperature"], strict=True), start=1
        )
    )
    note = (
        f"Cosine similarity in each head. The temperature is {number(pair['temperature'][0])} for every pair."
        if constant
        else "Cosine similarity in each head; the whisker is ± the temperature of this pair in that head."
    )
    return _bars("Heads", note, rows)


def _bars(title: str, note: str, rows: str) -> str:
    """Bars on one axis from −1 to 1."""
    return (
        f'<figure class="heads"><figcaption><h3>{title}</h3><p>{note}</p></figcaption>{rows}'
        '<div class="head axis" aria-hidden="true"><span></span><div><i>−1</i><i>0</i><i>1</i></div><span></span></div>'
        "</figure>"
    )


def _row(name: str, similarity: float, temperature: float | None) -> str:
    low, high = sorted((0.0, similarity))
    bar = f'<i class="bar{" bar-negative" if similarity < 0 else ""}" style="{_span(low, high)}"></i>'
    text = number(similarity)
    if temperature is not None:
        bar += f'<i class="whisker" style="{_span(similarity - temperature, similarity + temperature)}"></i>'
        text += f"<small> ± {number(temperature)}</small>"
    why = f"{name}: cosine {number(similarity)}, on a scale from −1 to 1."
    if temperature is not None:
        why += f" Temperature of this pair in it: {number(temperature)}."
    return f'<div class="head"><span>{name}</span><div class="track">{bar}</div>{term(text, why)}</div>'


def _span(low: float, high: float) -> str:
    """Position of the stretch from `low` to `high` on an axis that runs from −1 to 1."""
    left, right = (50 * (min(1.0, max(-1.0, value)) + 1) for value in (low, high))
    return f"left:{left:.2f}%;width:{right - left:.2f}%"
