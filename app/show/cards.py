"""A card for each loaded model: what it is, and what it was measured at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from app.show.parts import button, number, term
from app.show.parts import failure as failed

OUTCOMES = {
    "loaded": "loaded, warmed up and checked",
    "replaced": "replaced by the bundle that its folder holds now",
    "unchanged": "its folder holds the bundle that is loaded, so nothing changed",
}
FACTS = {
    "dim": "D, the length of an image’s vector",
    "heads": "projection heads, which judge pairs; 0: a model without, whose pairs are scored by their features",
    "precision": "of the encoder that is loaded; the bundle may hold others",
    "provider": "what onnxruntime really runs the encoder on",
    "input": "the square that the network sees, in pixels",
}

DIGEST = "The hash of the card, which names the hash of every file. Vectors of different digests are not comparable. {}"
FIGURES = {  # those shown first, by their names on the card
    "pair_auroc": "Pairs: AUROC of the score",
    "pair_auroc_features": "Pairs: AUROC of the features",
    "pair_overlap": "Pairs: overlap of the histograms",
    "knn_int8": "kNN accuracy, int8",
    "knn_fp32": "kNN accuracy, fp32",
    "knn_untrained": "kNN accuracy, untrained",
}

_HOW = "<code>POST /models/{name}/calibrate</code> fits it to your own pairs."
_ECE, _ECE_WHY = (
    "Calibration error",
    "ECE: how far probabilities lie from the shares that are right, on pairs not fitted",
)
_RIGHT, _RIGHT_WHY = "Verdicts that are right", "Share of pairs, not fitted, whose verdict is right"


def waiting() -> str:
    """Before the first answer."""
    return '<div class="panel skeleton" role="status" aria-label="Loading"></div>'


def failure(detail: str) -> str:
    """The models cannot be shown."""
    return failed("No models", detail, "Open the tab again in a moment.")


def note(text: str, *, bad: bool = False) -> str:
    """What became of a click."""
    kind, role = ("note note-bad", "alert") if bad else ("note", "status")
    return f'<p class="{kind}" role="{role}">{escape(text)}</p>'


def cards(models: Sequence[Mapping[str, Any]], said: str = "") -> str:
    """All cards, under what was `said` (HTML), and the form that loads another."""
    form = (
        '<form class="load"><label for="load-name">Load another model</label><div>'
        '<input id="load-name" name="name" type="text" autocomplete="off" placeholder="name of a folder">'
        f"{button('Load', 'load')}</div><p>From the server’s model folder (<code>--model-dir</code>). It is warmed "
        "up and checked before it answers; on a failure all stays as it is.</p></form>"
    )
    return f'{said}<div class="cards">{"".join(map(card, models))}</div>{form}'


def card(model: Mapping[str, Any]) -> str:
    """One model's card."""
    name = str(model["name"])
    badge = '<span class="badge">answers by default</span>' if model["default"] else ""
    provider = str(model["provider"]).removesuffix("ExecutionProvider")
    facts = [
        ("Features", f"{model['dim']:,}", FACTS["dim"]),
        ("Heads", str(model["heads"]), FACTS["heads"]),
        ("Precision", str(model["precision"]), FACTS["precision"]),
        ("Runs on", provider, FACTS["provider"]),
        ("Input", f"{model['input']['size']} px", FACTS["input"]),
    ]
    told = "".join(f"<div><dt>{title}</dt><dd>{term(escape(value), why)}</dd></div>" for title, value, why in facts)
    measured = _measured(model["metrics"])
    more = button("Reload", "load", name=name, label=f"Reload {name}", tip="Take what its folder holds now")
    if not model["default"]:
        more += button("Unload", "unload", name=name, label=f"Unload {name}", tip="Free its memory")
    origin = f"{model['method']} on {model['backbone']} · licence: {model['licence'] or 'not stated'}"
    return (
        f'<article class="panel card"><header><h2>{escape(name)}</h2>{badge}</header>'
        f"<p>{escape(model['description'])}</p>"
        f'<p class="origin">{escape(origin)}</p><dl class="facts">{told}</dl>{_calibrated(model)}{measured}'
        f'<p class="origin">{term(escape(str(model["digest"])[:19]) + "…", DIGEST.format(model["digest"]))}</p>'
        f'<footer>{more}<a href="./models/{escape(name)}">All of the card</a></footer></article>'
    )


def _calibrated(model: Mapping[str, Any]) -> str:
    """What turns scores into probabilities, and how that was found."""
    own, found = model["own_calibration"], model["calibration"]
    if own is None and found is None:
        return f"<h3>Calibration</h3><p>None: this model gives scores, no probabilities. {_HOW}</p>"
    if own is None:
        rows = [(_ECE, found["expected_calibration_error"], _ECE_WHY), (_RIGHT, found["accuracy"], _RIGHT_WHY)]
        figures = "".join(_row(title, number(value), why) for title, value, why in rows)
        by = term("By its card", escape(found["protocol"]))
        return f"<h3>Calibration</h3><p>{by}. {_HOW}</p><table><tbody>{figures}</tbody></table>"
    pairs = f"Fitted to {own['fitted']:,} pairs, measured on {own['held_out']:,} others. {own['data_digest']}"
    by = f"To your own pairs, {term(escape(own['dataset']), pairs)}, on {escape(own['created'][:10])}."
    before = own["before"] or {}
    figures = "".join(
        _row(
            title, f"{number(before[key])} → {number(own['after'][key])}" if before else number(own["after"][key]), why
        )
        for title, key, why in ((_ECE, "expected_calibration_error", _ECE_WHY), (_RIGHT, "accuracy", _RIGHT_WHY))
    )
    name = str(model["name"])
    undo = button("Undo", "uncalibrate", name=name, label=f"Undo the calibration of {name}", tip="Its card holds again")
    return f"<h3>Calibration</h3><p>{by} {undo}</p><table><tbody>{figures}</tbody></table>"


def _row(title: str, shown: str, why: str) -> str:
    return f'<tr><th scope="row">{title}</th><td>{term(shown, why)}</td></tr>'


def _measured(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """The card's figures, those that say most first and the others on demand."""
    if not metrics:
        return "<p>This model’s card holds no figures.</p>"
    first = [name for name in FIGURES if name in metrics]
    rest = [name for name in metrics if name not in first]
    if not first:
        first, rest = rest[:6], rest[6:]
    more = f"<details><summary>{len(rest)} more figures</summary>{_table(rest, metrics)}</details>" if rest else ""
    return f"<h3>Measured</h3>{_table(first, metrics)}{more}"


def _table(names: Sequence[str], metrics: Mapping[str, Mapping[str, Any]]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(FIGURES.get(name, name.replace("_", " ")))}</th>'
        f"<td>{term(number(float(metrics[name]['value'])), str(metrics[name]['protocol']))}</td></tr>"
        for name in names
    )
    return f"<table><tbody>{rows}</tbody></table>"
