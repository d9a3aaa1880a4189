from __future__ import annotations

import dataclasses
from xml.etree import ElementTree

import pytest

from amcl_serve.evaluation.report.gates import ALIASES, Gate, headline, judge, parse
from amcl_serve.evaluation.report.junit import junit
from amcl_serve.evaluation.result import Figure, Result, Section
from tests.amcl_serve.evaluation.report.sample import HOSTILE, renamed, sample


def result_of(*figures: Figure) -> Result:
    return Result("labelled", "photos", {"seed": 0}, [Section("one", "One", figures)], 1.5, "2026-11-30T09:12:44Z")


HIGHER = Figure("pair_auroc", "AUROC", 0.97, 100, "how", 0.94, 0.99)
LOWER = Figure("pair_ece_served", "ECE", 0.03, 100, "how", 0.01, 0.06, "lower")


@pytest.mark.parametrize(
    ("figure", "bound", "passed", "measured"),
    [
        (HIGHER, 0.94, True, 0.94),
        (HIGHER, 0.95, False, 0.94),  # though the value is above it
        (LOWER, 0.06, True, 0.06),
        (LOWER, 0.05, False, 0.06),
        (dataclasses.replace(HIGHER, low=None, high=None), 0.97, True, 0.97),
        (dataclasses.replace(HIGHER, low=None, high=None), 0.98, False, 0.97),
        (dataclasses.replace(HIGHER, low=float("nan")), 0.98, False, 0.97),
    ],
)
def test_a_gate_compares_the_worse_end_of_the_interval(
    figure: Figure, bound: float, passed: bool, measured: float
) -> None:
    (verdict,) = judge([Gate(figure.name, bound)], result_of(figure))
    assert (verdict.passed, verdict.measured, verdict.figure) == (passed, measured, figure)
    assert ("no interval" in verdict.reason) == (measured == 0.97)


def test_what_cannot_be_compared_fails_with_the_reason() -> None:
    unmeasured = Figure("pair_auroc", "AUROC", None, 0, "there are no pairs")
    neutral = Figure("gap", "Gap", 0.5, 10, "how", better=None)
    undefined = Figure("nan", "NaN", float("nan"), 10, "one class only")
    gates = [Gate(name, 0.0) for name in ("pair_auroc", "gap", "nan", "gab")]
    verdicts = judge(gates, result_of(unmeasured, neutral, undefined))
    assert not any(verdict.passed or verdict.measured is not None for verdict in verdicts)
    assert "there are no pairs" in verdicts[0].reason
    assert "neither" in verdicts[1].reason
    assert "one class only" in verdicts[2].reason
    assert verdicts[3].reason == ("no figure is called gab (did you mean gap?); there are auroc, gap, nan, pair_auroc")


def test_names_have_aliases() -> None:
    verdicts = judge([Gate("auroc", 0.9), Gate("ece", 0.1)], result_of(HIGHER, LOWER))
    assert [verdict.passed for verdict in verdicts] == [True, True]
    assert {verdict.figure.name for verdict in verdicts if verdict.figure} <= set(ALIASES.values())


def test_a_bound_that_is_missed_by_little_does_not_look_reached() -> None:
    (verdict,) = judge([Gate("auroc", 0.94000001)], result_of(HIGHER))
    assert not verdict.passed
    assert "0.94000001" in verdict.reason


@pytest.mark.parametrize("text", ["auroc=0.95", " auroc = 0.95 "])
def test_gates_are_parsed(text: str) -> None:
    assert parse(text) == Gate("auroc", 0.95)
    assert str(parse(text)) == "auroc=0.95"


@pytest.mark.parametrize("text", ["auroc", "auroc=", "=0.95", "auroc=high", "auroc=nan", "auroc=inf", "a=1=2"])
def test_what_is_no_gate_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="NAME=BOUND"):
        parse(text)


def test_the_headline_is_gates_and_then_the_first_of_each_section() -> None:
    result = sample()
    assert [figure.name for figure in headline(result, [])] == ["unreadable", "pair_auroc", "pair_ece_served"]
    verdicts = judge([Gate("pair_eer", 0.1), Gate("nothing", 1)], result)
    names = [figure.name for figure in headline(result, verdicts)]
    assert names == ["pair_eer", "unreadable", "pair_auroc", "pair_ece_served"]


def test_the_headline_prefers_the_figure_of_the_sections_name_and_tells_titles_apart() -> None:
    one = Section("knn", "Neighbours", [Figure("knn_1", "k = 1", 0.1, 9, "how"), Figure("knn", "AUROC", 0.2, 9, "how")])
    other = Section("pairs", "Pairs of a class", [HIGHER])
    found = headline(dataclasses.replace(sample(), sections=[one, other]), [])
    assert [(figure.name, figure.title) for figure in found] == [
        ("knn", "AUROC, neighbours"),
        ("pair_auroc", "AUROC, pairs of a class"),
    ]


def test_junit_has_a_case_for_each_gate() -> None:
    result = sample()
    gates = [Gate("auroc", 0.9), Gate("pair_eer", 0.01), Gate("near_duplicates", 0), Gate("nothing", 1)]
    suites = ElementTree.fromstring(junit(result, judge(gates, result)))
    (suite,) = suites
    for element in (suites, suite):
        counts = [element.get(name) for name in ("tests", "failures", "errors", "time")]
        assert counts == ["4", "2", "1", "73.422"]
    cases = suite.findall("testcase")
    assert [[child.tag for child in case] for case in cases] == [[], ["failure"], ["failure"], ["error"]]
    assert cases[0].get("name") == "auroc=0.9"
    assert "2.97 %" in (cases[1][0].get("message") or "")
    assert suite.find("properties/property[@name='seed']") is not None


def test_junit_of_a_strangers_text_is_xml() -> None:
    result = renamed(sample(), HOSTILE)
    suites = ElementTree.fromstring(junit(result, judge([Gate(HOSTILE, 1)], result)))
    assert "onerror" in (suites[0].get("name") or "")
    assert not suites.findall(".//img")
