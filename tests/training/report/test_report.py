"""Figures and pages of a report, and what is measured of pairs, from hand-made numbers."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from amcl_serve.metrics.separation import separation
from training.data import FolderImages, Subset
from training.judging.pairs import Pairs, PairScores
from training.report import figures, pages
from training.report.figures import HistogramRow, TemperatureRow
from training.report.measure import head_agreement, pair_images
from training.report.sections import FigureFile, Section, Table

RNG = np.random.default_rng(0)


def scores(mean: float, *, count: int = 40, heads: int = 2) -> PairScores:
    similarity = np.clip(RNG.normal(mean, 0.2, (count, heads)), -1, 1)
    return PairScores(similarity[:, 0], similarity, np.full((count, heads), 0.2))


def histogram() -> str:
    apart = separation(RNG.normal(0.8, 0.1, 100).clip(-1, 1), RNG.normal(0, 0.2, 100))
    return figures.histograms([HistogramRow("a", "<run> & co", {"a": apart, "abc": apart})], "similarity")


def test_a_figure_is_well_formed_dated_by_nothing_and_escapes_names() -> None:
    svg = histogram()
    ElementTree.fromstring(svg)
    assert "<run>" not in svg
    assert "&lt;run&gt; &amp; co" in svg
    assert "<dc:date>" not in svg


def test_the_same_numbers_give_the_same_figure() -> None:
    tau = RNG.uniform(0.05, 0.2, (30, 5))
    row = TemperatureRow("run", tau, 2 * tau, (0.03, 0.5))
    text = figures.temperatures([row])
    assert text == figures.temperatures([row])
    assert f"τ⁺ {tau[:, 4].mean():.3f} ± {tau[:, 4].std():.3f}" in text


def test_a_histogram_says_its_numbers() -> None:
    positive, negative = RNG.normal(0.6, 0.1, 50), RNG.normal(0, 0.2, 50)
    apart = separation(positive, negative)
    svg = figures.histograms([HistogramRow("a", "run", {"abcde": apart})], "similarity")
    assert f"AUROC {apart.auroc:.3f}" in svg
    assert f"overlap {apart.overlap:.3f}" in svg
    assert "5 augmentations (abcde)" in svg


def test_densities_have_area_one_whatever_the_bins() -> None:
    edges = np.array([0.0, 0.1, 0.4, 1.0])
    density = figures.density(np.array([2, 5, 3]), edges)
    assert (density * np.diff(edges)).sum() == pytest.approx(1)


def test_curves_and_agreement_take_gaps() -> None:
    svg = figures.curves({"one": {"loss": [(0, 2.0), (1, 1.5)]}, "two": {"knn": [(1, 0.5)]}}, {"loss": "l", "knn": "k"})
    ElementTree.fromstring(svg)
    assert "1.5" in svg
    correlation = np.array([[1.0, np.nan], [np.nan, 1.0]])
    assert "–" in figures.agreement([("run", {"positive": correlation})])


def test_values_are_escaped_in_both_pages() -> None:
    nasty = "<script>alert(1)</script> | *x*"
    section = Section(nasty, nasty, [Table([nasty], [[nasty]])], [FigureFile("f.svg", histogram(), nasty)])
    page, text = pages.html(nasty, [section]), pages.markdown(nasty, [section])
    assert "<script" not in page
    assert "<script" not in text
    row = next(line for line in text.splitlines() if line.startswith("| ") and "alert" in line)
    assert row.replace("\\|", "").count("|") == 2


def test_the_page_draws_figures_in_its_own_colours() -> None:
    page = pages.html("t", [Section("s", figures=[FigureFile("f.svg", histogram(), "caption")])])
    figure = page[page.index("<svg") : page.index("</svg>")]
    assert figures.INK not in figure
    assert "#ffffff" not in figure
    assert "var(--ink)" in figure


def test_score_and_logit_of_pairs() -> None:
    pair = PairScores(np.zeros(1), np.array([[0.9, 0.3]]), np.array([[0.1, 0.2]]))
    assert pair.score == pytest.approx([0.7])
    assert pair.logit == pytest.approx([(9 + 1.5) / 2])


def test_the_interval_holds_the_auroc_and_depends_on_the_seed_alone() -> None:
    pairs = Pairs(scores(0.5), scores(0.2), 0.1)
    low, high = pairs.auroc_interval("score", 3)
    assert low < pairs.separations()["score"].auroc < high
    assert pairs.auroc_interval("score", 3) == (low, high)
    assert pairs.auroc_interval("score", 4) != (low, high)


def test_heads_that_say_the_same_agree() -> None:
    one = RNG.normal(size=50)
    same = PairScores(one, np.stack([one, 2 * one + 1, -one], axis=1), np.ones((50, 3)))
    np.testing.assert_allclose(head_agreement(same), [[1, 1, -1], [1, 1, -1], [-1, -1, 1]], atol=1e-12)


def test_pair_images_are_drawn_by_the_seed_from_those_that_can_be_read(folder: Path, tmp_path: Path) -> None:
    for index, path in enumerate(sorted(folder.rglob("*.jpg"))[:6]):
        target = tmp_path / f"c{index % 2}" / path.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(b"no image" if index == 3 else path.read_bytes())
    images = FolderImages(tmp_path)
    broken = next(i for i in range(6) if (tmp_path / images.name(i)).read_bytes() == b"no image")
    queries = Subset(images, np.arange(6))
    chosen = pair_images(queries, 5, 0)
    assert sorted(chosen) == [i for i in range(6) if i != broken]
    assert pair_images(queries, 5, 0) == chosen
    assert len(pair_images(queries, 2, 1)) == 2
    with pytest.raises(ValueError, match="at least two"):
        pair_images(Subset(images, np.array([broken])), 5, 0)
