"""What the report says of runs, their features and their training, as sections of a `Result`.

Figures are those of the run that is judged, named as in the evaluation of a served model where they are the same;
tables put the run that it is compared with and the untrained networks beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from amcl_serve.evaluation.protocols.parts.part import Estimate, estimates
from amcl_serve.evaluation.result import Better, Figure, Plot, Section, Series, Table, defined
from amcl_serve.metrics import label_free as metrics
from training.report.pairs import Row, agreement, columns, floors, separations, temperatures
from training.report.study import Study

_FROZEN = (
    "Of the backbone's features of unaugmented images, frozen, in float32. Two runs of one method differ by more than "
    "the interval, which knows of the queries alone."
)
_LABEL_FREE: Mapping[str, tuple[str, str, Better | None, str]] = {  # field: name, title, better, protocol
    "rankme": (
        "rankme",
        "RankMe",
        "higher",
        "exp of the entropy of the singular values' shares (Garrido et al. 2023); at most the number of dimensions",
    ),
    "alpha_req": (
        "alpha_req",
        "α-ReQ",
        None,
        "decay of the covariance's eigenvalues, ranks 4 to 50, weights 1/rank (Agrawal et al. 2022); best near 1",
    ),
    "alignment": (
        "alignment",
        "Alignment",
        "lower",
        "mean d² of two abcde views of an image, features of unit norm (Wang & Isola 2020); collapse gives 0 too",
    ),
    "uniformity": ("uniformity", "Uniformity", "lower", "log mean of exp(−2 d²) between images; 0 is collapse"),
    "calibration_error": (
        "pair_ece_fitted",
        "Calibration error",
        "lower",
        "expected, 10 bins, of a logistic regression on the score of abcde pairs, fitted on those of one half of the "
        "images, judged on those of the other",
    ),
    "brier": ("pair_brier_fitted", "Brier score", "lower", "of the same probability on the same pairs"),
}


def sections(study: Study) -> list[Section]:
    """Everything that the report says of `study`."""
    return [_runs(study), *_features(study), _label_free(study), separations(study), *temperatures(study),
            *agreement(study), *_curves(study)]  # fmt: skip


def _runs(study: Study) -> Section:
    rows: list[Row] = []
    for m in study.measured:
        config = m.run.config
        width = "" if config.backbone.named else f", width {config.backbone.width}"
        backbone = f"{config.backbone.name}{width}, {config.data.image_size} px"
        parameters = sum(p.numel() for p in m.run.model.parameters())
        rows.append([m.run.name, m.run.title, backbone, m.run.model.feature_dim, parameters, m.run.step])
    found = study.judged.here
    of = f"without labels; {found.label_free.images} images" if found.quality is None else found.quality.sizes
    notes = [
        f"{study.data}: {of}; {study.pairs} positive and {study.pairs} negative pairs from them; seed {study.seed}."
    ]
    if study.in_common:
        notes.append(f"A run has learnt from {study.in_common} of these images: all figures flatter it.")
    notes.append(
        "“untrained” is the network of the same configuration before training, weights of seed 0: what images give "
        "away without any learning."
    )
    header = ("run", "method", "backbone", "dimensions", "parameters", "steps")
    return Section("runs", "Runs", tables=[Table("Networks", header, rows)], notes=notes)


def _features(study: Study) -> list[Section]:
    if study.judged.here.quality is None:
        return []
    beside = {name: estimates(m.quality.parts) for name, m in columns(study).items() if m.quality}
    found: list[Section] = []
    for part in study.judged.here.quality.parts:
        names = [item.name for item in part.items]
        titles = {item.name: f"{item.title}, %" for item in part.items}
        rows: list[Row] = [[titles[name], *(_percent(of.get(name)) for of in beside.values())] for name in names]
        section = part.section(study.seed)
        tables = [Table("Beside", ("", *beside), rows), *section.tables] if rows else section.tables
        found.append(dataclasses.replace(section, tables=tables, notes=[*section.notes, *([] if found else [_FROZEN])]))
    return found


def _percent(found: Estimate | None) -> float | None:
    return None if found is None else defined(100 * found.value)


def _label_free(study: Study) -> Section:
    found = study.judged.here.label_free
    figures = [
        Figure(
            name, title, defined(getattr(found, attribute)), found.pairs if "pair" in name else found.images, said,
            better=better,
        )
        for attribute, (name, title, better, said) in _LABEL_FREE.items()
    ]  # fmt: skip
    # Heads that were never trained have a score too, which depends on how many there are.
    distinct = list({id(m.floor): m for m in reversed(study.measured)}.values())[::-1]
    beside = {m.run.name: m.here.label_free for m in study.measured}
    beside |= {name: measures.label_free for name, measures in floors(distinct).items()}
    rows: list[Row] = []
    for what, of in (("pair AUROC", "pair_auroc"), ("pair AUROC of features", "pair_auroc_features")):
        rows += [[f"{what}, {p}", *(getattr(each, of)[p] for each in beside.values())] for p in metrics.PRESETS]
    rows += [
        [title, *(defined(getattr(each, attribute)) for each in beside.values())]
        for attribute, (_, title, _, _) in _LABEL_FREE.items()
    ]
    notes = [
        f"Of {found.images} held-out images and {study.pairs} + {study.pairs} pairs of their views; the geometry is "
        "that of the backbone's features. Single kinds of augmentation are easy. docs/training.md says which of these "
        "went with kNN, and which did not."
    ]
    return Section("rankme", "Without labels", figures, tables=[Table("Beside", ("", *beside), rows)], notes=notes)


def _curves(study: Study) -> list[Section]:
    curves = {m.run.name: m.run.curves for m in study.measured}
    labels = {
        "loss": "loss",
        "knn": "kNN accuracy (share)",
        "label_free/pair_auroc_abcde": "pair AUROC (abcde)",
        "effective_rank": "effective rank of a batch",
    }
    plots = []
    for key, label in labels.items():
        series = [_curve(name, found[key]) for name, found in curves.items() if key in found]
        if series:
            plots.append(Plot(f"curve_{key.rpartition('/')[2]}", label, "lines", "epoch", label, series))
    if not plots:
        return []
    note = (
        "From metrics.jsonl. Losses of different methods, numbers of heads or temperatures are different quantities: "
        "compare their shape, not their height."
    )
    return [Section("training", "Training", plots=plots, notes=[note])]


def _curve(name: str, points: Sequence[tuple[float, float]]) -> Series:
    return Series(name, [x for x, _ in points], [y for _, y in points])
