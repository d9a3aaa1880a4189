from __future__ import annotations

import time
from pathlib import Path

import pytest

from training.config import recipes
from training.run import journal
from training.run.reporter import Reporter


def test_the_share_of_time_spent_waiting_is_shown_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def slow() -> object:
        for number in range(4):
            time.sleep(0.03)
            yield number

    reporter = Reporter(recipes.recipe("simclr"), tmp_path, 0, silent=False)
    reporter.begin(0, 4)
    for step in reporter.waiting(slow()):  # type: ignore[arg-type]
        time.sleep(0.03 if step < 2 else 0)
        reporter.advance()
        if step % 2:
            reporter.progress(step + 1, 1.0, {})
    reporter.close()
    half, whole = (line["data_wait"] for line in journal.read(tmp_path))
    assert 0.3 < half < 0.7 < whole <= 1
    assert f"wait={half:.0%}" in capsys.readouterr().out
