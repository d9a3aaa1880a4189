"""The benchmarks of overload and of half an hour, in seconds: they run, and their arithmetic is right."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.serving import overload, soak
from benchmarks.serving.open_loop import UNANSWERED, Sent


def figures(printed: str) -> dict[str, str]:
    return dict(line.split(" = ", 1) for line in printed.splitlines() if " = " in line)


def sent(due: float, seconds: float, status: int = 200) -> Sent:
    return Sent(due, due, due + seconds, status, status == 429)


def test_goodput_counts_what_came_while_the_load_was_on() -> None:
    load = [sent(0, 0.1), sent(1, 0.1), sent(2, 0.1, 429), sent(3, 0.1, UNANSWERED), sent(9, 2)]
    assert overload.goodput(load, 10) == 0.2


def test_recovery_is_the_first_answer_after_the_last_refusal() -> None:
    assert overload.recovery([sent(5.0, 0.25), sent(5.1, 0.01)]) == 0.25
    assert overload.recovery([sent(5.0, 0.1), sent(5.5, 0.1, 429), sent(6.0, 0.25)]) == 1.25
    assert math.isinf(overload.recovery([sent(5.0, 0.1), sent(5.5, 0.1, 503)]))


def test_a_short_soak_finds_every_answer_as_expected(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert soak.main(["--minutes", "0.1", "--model", str(tiny_bundle)]) == 0
    found = figures(capsys.readouterr().out)
    assert found["unexpected_answers"] == "0"
    assert int(found["requests"]) > 50
    assert 0.5 < float(found["rss_growth"]) < 2


@pytest.mark.slow
def test_a_short_overload_loses_no_request(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--seconds", "2", "--step", "1", "--factor", "1", "--first-rate", "20", "--model", str(tiny_bundle)]
    assert overload.main(flags) == 0
    found = figures(capsys.readouterr().out)
    assert found["other_statuses"] == found["busy_without_retry_after"] == "0"
    assert float(found["peak_requests_per_second"]) > 10
    assert math.isfinite(float(found["recovery_seconds"]))
