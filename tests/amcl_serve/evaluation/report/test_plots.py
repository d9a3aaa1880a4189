from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from amcl_serve.evaluation.report.plots import HEIGHT, WIDTH, figure
from amcl_serve.evaluation.report.scales import Scale, decades, stretch
from amcl_serve.evaluation.result import Plot, Series


def plot(kind: str, *series: Series, **more: bool) -> Plot:
    return Plot("p", "Title", kind, "across", "up", series, **more)  # type: ignore[arg-type]


def parsed(drawn: Plot) -> ElementTree.Element:
    return ElementTree.fromstring(figure(drawn))


def coordinates(root: ElementTree.Element) -> list[tuple[float, float]]:
    found = []
    for path in root.iter("path"):
        for pair in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path.get("d", "")):
            found.append((float(pair[0]), float(pair[1])))
    return found


X = [k / 10 for k in range(11)]


@pytest.mark.parametrize(
    "drawn",
    [
        plot("lines", Series("a", X, [x**2 for x in X]), Series("b", X, [None, *X[1:]]), diagonal=True),
        plot("lines", Series("a", [0.0, 1e-4, 1e-2, 1.0], [1.0, 0.5, 0.2, 0.0]), log_x=True, diagonal=True),
        plot("lines", Series("a", [0.5], [0.5])),
        plot("lines", Series("a", [-3e7, 4e8], [math.nan, 7e-9])),
        plot("steps", Series("a", X, [float(k) for k in range(10)]), Series("b", X, [None] * 9 + [2.0])),
        plot("steps", Series("a", [0.0, 1.0], [0.0])),
        plot("points", Series("a", [5.0] * 1000, [5.0] * 1000)),
    ],
)
def test_whatever_is_drawn_lies_within_the_picture(drawn: Plot) -> None:
    root = parsed(drawn)
    found = coordinates(root)
    assert found
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in found)
    for anchor in ("end", "middle"):  # of the numbers beside the axes
        texts = [text.text or "" for text in root.findall(f".//text[@text-anchor='{anchor}']")]
        assert len(set(texts)) == len(texts) >= 3


@pytest.mark.parametrize("kind", ["lines", "steps", "points"])
@pytest.mark.parametrize("y", [[], [None, None], [math.nan, math.inf]])
def test_nothing_to_draw_is_said(kind: str, y: list[float | None]) -> None:
    assert "Nothing to draw" in figure(plot(kind, Series("a", [0.0, 0.5, 1.0][: len(y)], y)))
    assert "Nothing to draw" in figure(plot(kind))


def test_a_histogram_has_the_heights_of_its_counts() -> None:
    root = parsed(plot("steps", Series("a", [0.0, 1.0, 2.0], [10.0, 5.0])))
    first, second = root.findall(".//rect[@class='hit']")
    assert float(first.get("height", 0)) == pytest.approx(2 * float(second.get("height", 0)), abs=0.2)
    titles = [title.text for title in root.iter("title")]
    assert titles == ["a: 10 from 0 to 1", "a: 5 from 1 to 2"]


def test_a_gap_is_no_line() -> None:
    root = parsed(plot("lines", Series("a", X, [0.1, 0.2, 0.3, None, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 0.0])))
    assert len(root.findall(".//path[@class='line s0']")) == 2 + 1  # and one of the legend


def test_a_long_line_is_thinned_and_ends_where_it_did() -> None:
    many = [k / 100_000 for k in range(100_001)]
    html = figure(plot("lines", Series("a", many, many)))
    assert len(html) < 40_000
    assert f"{WIDTH - 18:.1f} 10.0" in html  # the upper right corner


def test_positive_and_negative_have_the_posters_colours_and_others_differ() -> None:
    html = figure(plot("lines", Series("negative pairs", X, X), Series("positive pairs", X, X)))
    assert 'class="line negative"' in html
    assert 'class="line positive"' in html
    html = figure(plot("lines", Series("positive, a", X, X), Series("positive, b", X, X)))
    assert "positive" not in re.findall(r'class="line (\w+)"', html)


def test_axes_are_round_numbers() -> None:
    def texts(*ends: float) -> list[str]:
        return [text for _, text in Scale(*ends, 0, 100).ticks()]

    assert texts(0, 1) == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert texts(-1, 1) == ["−1.0", "−0.5", "0.0", "0.5", "1.0"]
    assert texts(0, 12_000) == ["0", "2,500", "5,000", "7,500", "10,000"]
    assert [text for _, text in Scale(1e-9, 1, 0, 100, log=True).ticks()] == ["10⁻⁹", "10⁻⁷", "10⁻⁵", "0.001", "0.1"]
    assert stretch([]) == (0, 1)
    assert stretch([0.2, 0.9]) == (0, 1)
    assert stretch([3.0, 3.0])[0] < 3
    assert decades([0.0, -1.0]) == (0.1, 1)
    assert decades([0.02]) == (0.01, 0.1)


def test_values_stand_in_a_table_below() -> None:
    def cells(drawn: Plot) -> list[list[str]]:
        return [[cell.text or "" for cell in row] for row in parsed(drawn).findall(".//details//tbody/tr")]

    bars = plot("steps", Series("same", [0.0, 1.0, 2.0, 3.0], [10.0, 0.0, 5.0]), Series("<b>", [0.0, 1.0], [2.0]))
    assert cells(bars) == [["same", "0", "1", "10"], ["same", "2", "3", "5"], ["<b>", "0", "1", "2"]]
    many = [k / 1000 for k in range(1001)]
    line = cells(plot("lines", Series("a", many, [None, *many[1:]])))
    assert len(line) <= 60
    assert (line[0], line[-1]) == (["0.001", "0.001"], ["1", "1"])
