"""The report's content, once for Markdown and for HTML: sections of text, tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from amcl_serve.metrics import label_free as metrics
from amcl_serve.metrics.label_free import LabelFree
from training.config import Config
from training.report import figures
from training.report.figures import HistogramRow, TemperatureRow
from training.report.measure import PRESETS, Measures, Quality, head_agreement
from training.report.study import Measured, Study, backbone_of

ALL_KINDS = PRESETS[-1]


@dataclass(frozen=True)
class Table:
    """Text of every cell; the first column names the row."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class FigureFile:
    """An SVG and what it shows."""

    file: str
    svg: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A heading with what is under it, in this order."""

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[FigureFile] = field(default_factory=tuple)


def sections(study: Study) -> list[Section]:
    """Everything that the report says of `study`."""
    return [
        _runs(study),
        *_features(study),
        _label_free(study),
        *_pairs(study),
        *_temperatures(study),
        *_curves(study),
    ]


def _runs(study: Study) -> Section:
    here = study.measured[0].here
    rows = [
        [
            m.run.name,
            m.run.title,
            f"{m.run.config.backbone.name}{_width(m.run.config)}, {m.run.config.data.image_size} px",
            f"{sum(p.numel() for p in m.run.model.parameters()) / 1e6:.2f} M",
            str(m.run.step),
        ]
        for m in study.measured
    ]
    text = (
        f"{study.data} without labels; {here.label_free.images} images"
        if here.quality is None
        else f"{study.classes} classes of {study.data}; bank of {here.quality.bank} training images, "
        f"{here.quality.queries} held-out queries"
    )
    text += f"; {study.pairs} positive and {study.pairs} negative pairs from them; seed {study.seed}."
    if study.in_common:
        text += f" A run has learnt from {study.in_common} of these images: all figures flatter it."
    return Section("Runs", text, [Table(["run", "method", "backbone", "parameters", "steps"], rows)])


def _width(config: Config) -> str:
    return "" if config.backbone.named else f", width {config.backbone.width}"


def _features(study: Study) -> list[Section]:
    columns = {name: found.quality for name, found in _columns(study).items() if found.quality}
    if not columns:
        return []
    accuracy: dict[str, Callable[[Quality], float]] = {}
    first = next(iter(columns.values()))
    for k in first.knn:
        accuracy[f"kNN, k = {k}"] = lambda q, k=k: q.knn[k]  # type: ignore[misc]
    accuracy["linear probe"] = lambda q: q.linear_probe.accuracy
    for k in first.retrieval.recall:
        accuracy[f"recall@{k}"] = lambda q, k=k: q.retrieval.recall[k]  # type: ignore[misc]
    accuracy["mAP"] = lambda q: q.retrieval.mean_average_precision
    rows = [[name, *(f"{100 * of(q):.1f} %" for q in columns.values())] for name, of in accuracy.items()]
    text = (
        "Of the backbone's features, frozen; higher is better. One standard error of a share is at most "
        f"{100 * 0.5 / first.queries**0.5:.1f} points. “untrained” is the same network before training: what images "
        "give away without any learning."
    )
    svg = figures.accuracies(list(accuracy), {name: [of(q) for of in accuracy.values()] for name, q in columns.items()})
    caption = "Classification and retrieval by frozen features of the backbone, beside the untrained network."
    table = Table(["", *columns], rows)
    return [Section("Frozen features", text, [table], [FigureFile("features.svg", svg, caption)])]


def _label_free(study: Study) -> Section:
    # Heads that were never trained have a score too, which depends on how many there are.
    floors = {id(m.floor): m for m in reversed(study.measured)}
    columns = {m.run.name: m.here.label_free for m in study.measured}
    columns |= {name: floor.label_free for name, floor in _floors(list(floors.values())[::-1]).items()}
    found: dict[str, Callable[[LabelFree], str]] = {}
    for preset in metrics.PRESETS:
        found[f"pair AUROC, {preset}"] = lambda m, p=preset: f"{m.pair_auroc[p]:.4f}"  # type: ignore[misc]
    for preset in metrics.PRESETS:
        found[f"pair AUROC of features, {preset}"] = lambda m, p=preset: f"{m.pair_auroc_features[p]:.4f}"  # type: ignore[misc]
    found["RankMe"] = lambda m: f"{m.rankme:.1f}"
    found["α-ReQ"] = lambda m: f"{m.alpha_req:.2f}"
    found["alignment"] = lambda m: f"{m.alignment:.3f}"
    found["uniformity"] = lambda m: f"{m.uniformity:.3f}".replace("-", "−")
    found["calibration error"] = lambda m: f"{m.calibration_error:.3f}"
    found["Brier score"] = lambda m: f"{m.brier:.3f}"
    rows = [[name, *(of(m).replace("nan", "–") for m in columns.values())] for name, of in found.items()]
    text = (
        f"Of {study.measured[0].here.label_free.images} held-out images and {study.pairs} + {study.pairs} pairs of "
        "their views. Pair AUROC: higher is better; single kinds of augmentation are easy. RankMe is the effective "
        f"rank, at most {max(m.run.model.feature_dim for m in study.measured)}; α-ReQ the decay of the spectrum. "
        "Alignment and uniformity: lower is better, but collapse aligns best of all. Calibration error and Brier "
        "score are of the pair probability, fitted on one half of the pairs, judged on the other. docs/training.md "
        "says which of these went with kNN, and which did not."
    )
    return Section("Without labels", text, [Table(["", *columns], rows)])


def _columns(study: Study) -> dict[str, Measures]:
    """Of the runs, and of the untrained backbones behind them."""
    return {m.run.name: m.here for m in study.measured} | _floors(_distinct_floors(study))


def _distinct_floors(study: Study) -> list[Measured]:
    """One run of each untrained backbone."""
    return list({backbone_of(m.run): m for m in reversed(study.measured)}.values())[::-1]


def _floors(distinct: Sequence[Measured]) -> dict[str, Measures]:
    return {"untrained" if len(distinct) == 1 else f"untrained {m.run.name}": m.floor for m in distinct}


def _pairs(study: Study) -> list[Section]:
    common = "AUROC is the chance that a positive pair scores above a negative one, with a 95 % bootstrap interval."
    heads = _histograms(study, "score", "ab", "pairs_heads.svg", "Temperature-scaled head similarity, Σ(s/τ) / Σ(1/τ)")
    features = _histograms(study, "feature", "cd", "pairs_features.svg", "Cosine of backbone features")
    return [
        Section(
            "Pairs by head similarity",
            "Score of a pair: Σ s/τ over its heads, divided by Σ 1/τ, in [−1, 1]. Temperature weighs the heads, and "
            "the result stays on the scale of a cosine, so that a network with one head and a constant temperature "
            "compares with one of many heads and adaptive temperatures. The logit, the mean of s/τ that the loss "
            "compares, has a scale of each network's own: only what depends on no scale is given for it. " + common,
            [_separations(study, ("score", "logit"))],
            [heads],
        ),
        Section(
            "Pairs by feature similarity",
            f"The same pairs by the cosine of the backbone's features, heads removed. {common}",
            [_separations(study, ("feature",))],
            [features],
        ),
    ]


def _separations(study: Study, names: Sequence[str]) -> Table:
    """A row for each preset, run and one of `names` ("score", "logit", "feature"); features beside the untrained."""
    rows = []
    for preset in PRESETS:
        subjects = {m.run.name: m.here.pairs for m in study.measured}
        adaptive = {m.run.name for m in study.measured if m.run.adaptive}  # of others the logit is the score, scaled
        if "feature" in names:
            subjects |= {name: floor.pairs for name, floor in _floors(_distinct_floors(study)).items()}
        for subject, pairs in subjects.items():
            for name, apart in pairs[preset].separations().items():
                if name in names and (name != "logit" or subject in adaptive):
                    low, high = pairs[preset].auroc_interval(name, study.seed)
                    rows.append(
                        [
                            preset,
                            f"{subject}, logit" if name == "logit" else subject,
                            f"{apart.auroc:.3f} ({low:.3f} to {high:.3f})",
                            f"{apart.overlap:.3f}",
                            "–" if name == "logit" else f"{100 * apart.positives_below_half:.1f} %",
                        ]
                    )
    return Table(["kinds", "run", "AUROC", "overlap", "positives < 0.5"], rows)


def _histograms(study: Study, name: str, letters: str, file: str, what: str) -> FigureFile:
    rows = [
        HistogramRow(
            letter,
            f"{m.run.name}: {m.run.title}",
            {preset: m.here.pairs[preset].separations()[name] for preset in PRESETS},
        )
        for letter, m in zip(letters, study.measured, strict=False)
    ]
    caption = (
        f"{what}, of {study.pairs} positive and {study.pairs} negative pairs. Columns: kinds of augmentation (a crop, "
        "b blur, c colour dropping, d colour distortion, e flip). Each histogram has area 1, overlap is the area "
        "shared, the dashed line is at 0.5; all axes are the same."
    )
    label = what.partition(",")[0]
    return FigureFile(file, figures.histograms(rows, label[0].lower() + label[1:]), caption)


def _temperatures(study: Study) -> list[Section]:
    found = []
    adaptive = [m for m in study.measured if m.run.adaptive]
    if adaptive:
        rows = []
        for m in adaptive:
            for kind, sign in (("positive", "τ⁺"), ("negative", "τ⁻")):
                for preset in PRESETS:
                    tau_PC = getattr(m.here.pairs[preset], kind).temperature
                    cells = [f"{tau.mean():.3f} ± {tau.std():.3f}" for tau in tau_PC.T]
                    rows.append([m.run.name, sign, preset, ", ".join(cells)])
        drawn = []
        for m in adaptive:
            config, pairs = m.run.config.temperature, m.here.pairs[ALL_KINDS]
            drawn.append(
                TemperatureRow(
                    m.run.name, pairs.positive.temperature, pairs.negative.temperature, (config.low, config.high)
                )
            )
        bounds = "; ".join(f"{r.title}: {r.bounds[0]:g} to {r.bounds[1]:g}" for r in drawn)
        caption = (
            f"Temperatures of {study.pairs} positive and {study.pairs} negative pairs under {ALL_KINDS}, by head. "
            f"The dashed line is the lower bound."
        )
        text = f"Mean ± spread over pairs, a figure for each head. Bounds: {bounds}."
        figure = FigureFile("temperatures.svg", figures.temperatures(drawn), caption)
        found.append(Section("Temperatures", text, [Table(["run", "", "kinds", "heads"], rows)], [figure]))
    several = [m for m in study.measured if m.run.config.heads.num > 1]
    if several:
        svg = figures.agreement(
            [
                (
                    m.run.name,
                    {k: head_agreement(getattr(m.here.pairs[ALL_KINDS], k)) for k in ("positive", "negative")},
                )
                for m in several
            ]
        )
        caption = (
            f"Correlation between heads over {study.pairs} positive and over {study.pairs} negative pairs under "
            f"{ALL_KINDS}; 1: the heads say the same."
        )
        text = "Pearson correlation of the similarities that two heads give to the same pairs."
        found.append(Section("Agreement of heads", text, (), [FigureFile("heads.svg", svg, caption)]))
    return found


def _curves(study: Study) -> list[Section]:
    runs = {m.run.name: m.run.curves for m in study.measured}
    labels = {
        "loss": "loss",
        "knn": "kNN accuracy (share)",
        "label_free/pair_auroc_abcde": "pair AUROC (abcde)",
        "effective_rank": "effective rank of a batch",
    }
    if not any(runs.values()):
        return []
    caption = (
        "Training curves, the last value beside each. Losses of different methods, numbers of heads or temperatures "
        "are different quantities: compare their shape, not their height."
    )
    figure = FigureFile("curves.svg", figures.curves(runs, labels), caption)
    return [Section("Training", "From metrics.jsonl of the runs.", (), [figure])]
