"""The report's figures, each as the text of an SVG that is the same for the same numbers.

Ink and grid have one colour each, so that a page can replace them by its own in the dark. Positives are orange and
negatives blue, as on the poster; runs have other colours (Okabe and Ito, Tol: safe for colour-blind readers).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from amcl_serve.metrics.separation import Separation

Floats = npt.NDArray[np.float64]

INK, GRID = "#1b1c1d", "#d3d4d5"
POSITIVE, NEGATIVE = "#e69f00", "#0072b2"
RUN_COLOURS = ("#aa4499", "#009e73")  # of two runs; of one, the last
UNTRAINED = "#8b8c8d"
_MARKS = ("s", "o")
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "amcl",
    "path.simplify_threshold": 0.1,
}


@dataclass(frozen=True)
class HistogramRow:
    """One row of `histograms`: its title, and what to draw under each preset."""

    letter: str  # as on the poster: (a), (b) head similarity, (c), (d) feature similarity
    title: str
    panels: Mapping[str, Separation]


def histograms(rows: Sequence[HistogramRow], xlabel: str) -> str:
    """Positive and negative pairs, a row for each run and a column for each preset, on common axes."""
    drawn = [panel for row in rows for panel in row.panels.values()]
    low = min(0.4, math.floor(10 * min(float(panel.edges[0]) for panel in drawn)) / 10)
    top = 1.45 * max(
        float(density(counts, panel.edges).max())
        for panel in drawn
        for counts in (panel.positive_counts, panel.negative_counts)
    )
    with mpl.rc_context(_STYLE):
        figure, axes = _grid(len(rows), len(rows[0].panels), height=2.05, share=True)
        for row, line in zip(rows, axes, strict=True):
            for (preset, panel), ax in zip(row.panels.items(), line, strict=True):
                _histogram(ax, panel)
                kinds = f"{len(preset)} augmentation{'s' if len(preset) > 1 else ''} ({preset})"
                ax.set_title(f"({row.letter}) {row.title}\n{kinds}" if ax is line[0] else f"\n{kinds}")
                ax.set_xlim(low, 1)
                ax.set_ylim(0, top)
            line[0].set_ylabel("density of pairs")
        for ax in axes[-1]:
            ax.set_xlabel(xlabel)
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper right", ncols=3, fontsize=9)
        return _svg(figure)


def _histogram(ax: Any, panel: Separation) -> None:
    for counts, colour, label in (
        (panel.negative_counts, NEGATIVE, "negative pairs"),
        (panel.positive_counts, POSITIVE, "positive pairs"),
    ):
        heights = density(counts, panel.edges)
        ax.stairs(heights, panel.edges, fill=True, color=colour, alpha=0.45, linewidth=0, label=label)
        ax.stairs(heights, panel.edges, color=colour, linewidth=1)
    ax.axvline(0.5, ymax=0.66, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
    lines = [
        f"AUROC {panel.auroc:.3f}",
        f"overlap {panel.overlap:.3f}",
        f"positives < 0.5: {100 * panel.positives_below_half:.1f} %",
    ]
    ax.text(0.02, 0.98, "\n".join(lines), transform=ax.transAxes, va="top", fontsize=8, linespacing=1.35)


def density(counts: npt.NDArray[np.int64], edges: Floats) -> Floats:
    """Of a histogram: its area is 1, so that panels with bins of different widths compare."""
    width = np.maximum(np.diff(edges), 1e-9)
    return np.asarray(counts / max(1, counts.sum()) / width, dtype=np.float64)


def accuracies(names: Sequence[str], values: Mapping[str, Sequence[float]]) -> str:
    """Shares in [0, 1], a line for each of `names`, a mark for each network of `values`; "untrained" ones in grey."""
    with mpl.rc_context(_STYLE):
        figure, axes = _grid(1, 1, height=0.9 + 0.36 * len(names))
        ax = axes[0][0]
        y = np.arange(len(names))[::-1]
        trained = [name for name in values if not name.startswith("untrained")]
        colours = dict(zip(trained, _run_colours(len(trained)), strict=True))
        marks = dict(zip(trained, _MARKS, strict=False))
        furthest = 100 * np.max(list(values.values()), axis=0)
        for name, row in values.items():
            x = 100 * np.array(row)
            ax.plot(x, y, marks.get(name, "d"), color=colours.get(name, UNTRAINED), markersize=6, label=name)
            if name in colours:
                # Of two runs the upper number is the first one's.
                shift = 0 if len(trained) == 1 else 4.5 if name == trained[0] else -4.5
                for each, right, height in zip(x, furthest, y, strict=True):
                    place = {"xytext": (8, shift), "textcoords": "offset points"}
                    ax.annotate(f"{each:.1f}", (right, height), va="center", fontsize=7.5, color=colours[name], **place)
        ax.set_yticks(y, names)
        ax.set_ylim(-0.6, len(names) - 0.4)
        ax.set_xlim(0, 100)
        ax.set_xlabel("per cent of the queries (mAP: per cent)")
        ax.grid(axis="x")
        ax.set_axisbelow(True)
        figure.legend(loc="outside upper center", ncols=len(values))
        return _svg(figure)


@dataclass(frozen=True)
class TemperatureRow:
    """One row of `temperatures`: τ [P, C] of positive and negative pairs, and their bounds."""

    title: str
    positive: Floats
    negative: Floats
    bounds: tuple[float, float]


def temperatures(rows: Sequence[TemperatureRow]) -> str:
    """Distribution of τ⁺ and τ⁻ of every head, each run from a new line on, on common axes."""
    high = max(float(max(row.positive.max(), row.negative.max())) for row in rows)
    low = min(row.bounds[0] for row in rows)
    edges = np.linspace(low - 0.02 * (high - low), high + 0.02 * (high - low), 41)
    columns = min(4, max(row.positive.shape[1] for row in rows))
    lines = [(row, first) for row in rows for first in range(0, row.positive.shape[1], columns)]
    with mpl.rc_context(_STYLE):
        figure, axes = _grid(len(lines), columns, height=1.9, share=True)
        for (row, first), line in zip(lines, axes, strict=True):
            for head, ax in enumerate(line, first):
                if head >= row.positive.shape[1]:
                    ax.axis("off")
                    continue
                _temperature(ax, row.positive[:, head], row.negative[:, head], edges)
                ax.axvline(row.bounds[0], color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
                ax.set_title(f"{row.title}\nhead {head + 1}" if head == 0 else f"\nhead {head + 1}")
                ax.set_xlim(edges[0], edges[-1])
                ax.set_xlabel("temperature τ")
            line[0].set_ylabel("per cent of pairs")
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
        return _svg(figure)


def _temperature(ax: Any, positive_P: Floats, negative_P: Floats, edges: Floats) -> None:
    for tau_P, colour, label in (
        (negative_P, NEGATIVE, "negative pairs"),
        (positive_P, POSITIVE, "positive pairs"),
    ):
        share = 100 * np.histogram(tau_P, edges)[0] / len(tau_P)
        ax.stairs(share, edges, fill=True, color=colour, alpha=0.45, linewidth=0, label=label)
        ax.stairs(share, edges, color=colour, linewidth=1)
    lines = [f"τ{sign} {tau.mean():.3f} ± {tau.std():.3f}" for sign, tau in (("⁺", positive_P), ("⁻", negative_P))]
    ax.text(0.98, 0.98, "\n".join(lines), transform=ax.transAxes, va="top", ha="right", fontsize=8)


def agreement(rows: Sequence[tuple[str, Mapping[str, Floats]]]) -> str:
    """Correlation between heads, a row for each run and a column for each kind of pairs, as numbered squares."""
    with mpl.rc_context({**_STYLE, "axes.spines.left": False, "axes.spines.bottom": False}):
        figure, axes = _grid(len(rows), len(rows[0][1]), height=2.2)
        for (title, kinds), line in zip(rows, axes, strict=True):
            for (kind, correlation), ax in zip(kinds.items(), line, strict=True):
                ax.pcolormesh(correlation, cmap="cividis", vmin=-1, vmax=1, edgecolors="#fefefe", linewidth=1)
                ax.invert_yaxis()
                ax.set_aspect("equal")
                count = len(correlation)
                for i in range(count):
                    for j in range(count):
                        value = correlation[i, j]
                        colour = "#fefefe" if not value > 0.2 else "#000000"
                        text = "–" if math.isnan(value) else f"{value:.3f}"
                        ax.text(
                            j + 0.5,
                            i + 0.5,
                            text,
                            ha="center",
                            va="center",
                            color=colour,
                            fontsize=8 if count < 6 else 5,
                        )
                ax.set_xticks(np.arange(count) + 0.5, [str(head + 1) for head in range(count)])
                ax.set_yticks(np.arange(count) + 0.5, [str(head + 1) for head in range(count)])
                ax.tick_params(length=0)
                ax.set_xlabel("head")
                ax.set_ylabel("head")
                ax.set_title(f"{title}\n{kind} pairs" if ax is line[0] else f"\n{kind} pairs")
        return _svg(figure)


def curves(runs: Mapping[str, Mapping[str, list[tuple[float, float]]]], labels: Mapping[str, str]) -> str:
    """Training curves by epoch, a panel for each of `labels` that any run has; linear axes."""
    shown = [key for key in labels if any(key in run for run in runs.values())]
    with mpl.rc_context(_STYLE):
        figure, axes = _grid(1, len(shown), height=2.3)
        for key, ax in zip(shown, axes[0], strict=True):
            for (name, run), colour, mark in zip(runs.items(), _run_colours(len(runs)), _MARKS, strict=False):
                points = run.get(key, [])
                few = len(points) <= 30
                ax.plot(*zip(*points, strict=True), color=colour, linewidth=1.3, label=name) if points else None
                if few and points:
                    ax.plot(*zip(*points, strict=True), mark, color=colour, markersize=4)
                if points:
                    ax.annotate(
                        f"{points[-1][1]:.3g}",
                        points[-1],
                        (4, 0),
                        textcoords="offset points",
                        va="center",
                        fontsize=8,
                        color=colour,
                        annotation_clip=False,
                    )
            ax.set_title(labels[key])
            ax.set_xlabel("epoch")
            ax.set_xlim(left=0)
            ax.grid(axis="y")
        handles = {
            label: handle for ax in axes[0] for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(runs))
        return _svg(figure)


def _run_colours(count: int) -> Sequence[str]:
    return RUN_COLOURS[-count:] if count else ()


def _grid(rows: int, columns: int, *, height: float, share: bool = False) -> tuple[Figure, Any]:
    """A figure 8 inches wide (`height` of a row), and its axes [rows, columns]; `share`: all have one y axis."""
    figure = Figure(figsize=(8, height * rows + 0.5), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, sharey=share)


def _svg(figure: Figure) -> str:
    """The figure's text; no date, no ids but those that the figure itself refers to."""
    out = StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = re.sub(r'<g id="[^"]*">', "<g>", out.getvalue())
    return re.sub(r" +\n", "\n", text)
