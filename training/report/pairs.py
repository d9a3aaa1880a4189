"""What the report says of pairs of views: scores, temperatures, and how far heads agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from amcl_serve.evaluation.result import Figure, Plot, Section, Series, Table, defined
from amcl_serve.metrics.head_score import head_correlation, mean_correlation
from training.judging.pairs import Pairs
from training.report.measure import PRESETS, Measures
from training.report.study import Measured, Study, backbone_of

ALL_KINDS = PRESETS[-1]
_BINS = 40
_PERCENTILES = (5, 25, 50, 75, 95)
_SCORES = {  # by field of PairScores
    "score": "the score of the heads, Σ(s/τ) / Σ(1/τ)",
    "logit": "the logit, the mean of s/τ that the loss compares",
    "feature": "the features' cosine",
}
_KINDS = {"positive": "τ⁺", "negative": "τ⁻"}

Row = list[str | float | int | None]


def columns(study: Study) -> dict[str, Measures]:
    """Of the runs, and of the distinct untrained backbones behind them."""
    distinct = list({backbone_of(m.run): m for m in reversed(study.measured)}.values())[::-1]
    return {m.run.name: m.here for m in study.measured} | floors(distinct)


def floors(distinct: Sequence[Measured]) -> dict[str, Measures]:
    """The untrained networks of these runs by what they are called."""
    return {"untrained" if len(distinct) == 1 else f"untrained {m.run.name}": m.floor for m in distinct}


def separations(study: Study) -> Section:
    """How far positive pairs lie from negative ones, by heads and by features, under each preset."""
    adaptive = {m.run.name for m in study.measured if m.run.adaptive}  # of others the logit is the score, scaled
    runs = {m.run.name for m in study.measured}
    figures, plots = [], []
    rows: list[Row] = []
    for name in _SCORES:
        for preset in PRESETS:
            for subject, measures in columns(study).items():
                # Untrained heads are nothing to compare with: of the untrained networks only the features.
                if (name == "logit" and subject not in adaptive) or (name == "score" and subject not in runs):
                    continue
                pairs = measures.pairs[preset]
                apart, (low, high) = pairs.separations()[name], pairs.auroc_interval(name, study.seed)
                below = None if name == "logit" else apart.positives_below_half
                rows.append([name, preset, subject, apart.auroc, low, high, apart.overlap, below])
                if name != "logit" and subject in runs:
                    plots.append(_histogram(subject, pairs, name, preset))
                if name != "logit" and subject == study.judged.run.name:
                    figures.append(_auroc(pairs, name, preset, study))
    notes = [
        "A positive pair is two augmented views of an image, a negative one views of two images, which may show the "
        "same class; a crop, b blur, c colour dropping, d colour distortion, e flip. All networks see the same views.",
        "The score lies in [−1, 1] whatever the number of heads and the kind of temperature. The logit's scale is each "
        "network's own, so only what depends on no scale is given, and only where temperatures are adaptive.",
    ]
    header = ("by", "kinds", "network", "AUROC", "from", "to", "overlap", "positives under 0.5")
    tables = [Table("Positive against negative pairs", header, rows)]
    return Section("pair_auroc", "Pairs", figures, plots, tables, notes=notes)


def _auroc(pairs: Pairs, name: str, preset: str, study: Study) -> Figure:
    low, high = pairs.auroc_interval(name, study.seed)
    suffix = ("_features" if name == "feature" else "") + ("" if preset == ALL_KINDS else f"_{preset}")
    said = (
        f"AUROC of {_SCORES[name]}, of {study.pairs} positive and {study.pairs} negative pairs under {preset}; "
        "interval: 95 % bootstrap over images, two neighbours in the ring of negative pairs at a time"
    )
    title = f"AUROC, {'features' if name == 'feature' else 'heads'}, {preset}"
    value = pairs.separations()[name].auroc
    return Figure(f"pair_auroc{suffix}", title, value, 2 * study.pairs, said, low, high, percent=True)


def _histogram(subject: str, pairs: Pairs, name: str, preset: str) -> Plot:
    apart, edges = pairs.separations()[name], pairs.separations()[name].edges.tolist()
    series = [
        Series(label, edges, (counts / counts.sum()).tolist())
        for label, counts in (("positive", apart.positive_counts), ("negative", apart.negative_counts))
    ]
    what = "features" if name == "feature" else "heads"
    title = f"{subject}, {what}, {preset}"
    return Plot(f"histogram_{what}_{preset}_{subject}", title, "steps", _SCORES[name], "share of pairs", series)


def temperatures(study: Study) -> list[Section]:
    """Of adaptive runs: each head's temperatures, beside the bounds."""
    adaptive = [m for m in study.measured if m.run.adaptive]
    if not adaptive:
        return []
    rows: list[Row] = []
    plots = []
    for m in adaptive:
        for preset in PRESETS:
            for kind, sign in _KINDS.items():
                for head, tau in enumerate(_taus(m.here.pairs[preset])[kind].T, 1):
                    spread = (float(tau.mean()), float(tau.std()), *np.percentile(tau, _PERCENTILES).tolist())
                    rows.append([m.run.name, sign, preset, head, *spread])
        found = _taus(m.here.pairs[ALL_KINDS])
        for head in range(m.run.config.heads.num):
            edges = np.histogram_bin_edges(np.concatenate([tau[:, head] for tau in found.values()]), _BINS)
            series = [
                Series(kind, edges.tolist(), (np.histogram(tau[:, head], edges)[0] / len(tau)).tolist())
                for kind, tau in found.items()
            ]
            title = f"{m.run.name}, head {head + 1}, {ALL_KINDS}"
            plots.append(
                Plot(f"temperature_{m.run.name}_{head + 1}", title, "steps", "temperature", "share of pairs", series)
            )
    bounds = "; ".join(
        f"{m.run.name} {m.run.config.temperature.low:g} to {m.run.config.temperature.high:g}" for m in adaptive
    )
    notes = [f"Bounds: {bounds}. A temperature that sits at its bound is a constant in disguise."]
    header = ("run", "τ", "kinds", "head", "mean", "deviation", *(f"{each} %" for each in _PERCENTILES))
    table = Table("Temperatures of positive and of negative pairs, and their percentiles", header, rows)
    return [Section("temperatures", "Temperatures", plots=plots, tables=[table], notes=notes)]


def _taus(pairs: Pairs) -> Mapping[str, np.ndarray]:
    return {"positive": pairs.positive.temperature, "negative": pairs.negative.temperature}


def agreement(study: Study) -> list[Section]:
    """Of runs with several heads: how alike their similarities are."""
    figures, tables = [], []
    for m in study.measured:
        count = m.run.config.heads.num
        if count < 2:
            continue
        for kind in _KINDS:
            heads = getattr(m.here.pairs[ALL_KINDS], kind).heads
            rows = [[head, *map(defined, row)] for head, row in enumerate(head_correlation(heads), 1)]
            tables.append(Table(f"{m.run.name}, {kind} pairs", ("head", *map(str, range(1, count + 1))), rows))
            if m is study.judged:
                value = defined(mean_correlation(heads))
                said = f"mean Pearson correlation between two heads' similarities, within {kind}s under {ALL_KINDS}"
                title = f"Correlation of heads, {kind}s"
                figures.append(Figure(f"head_correlation_{kind}s", title, value, study.pairs, said, better=None))
    if not tables:
        return []
    note = f"Pearson correlation of two heads' similarities of the same pairs under {ALL_KINDS}; 1: they say the same."
    return [Section("heads", "Agreement of heads", figures, tables=tables, notes=[note])]
