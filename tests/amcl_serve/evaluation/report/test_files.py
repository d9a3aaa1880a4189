from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from amcl_serve.evaluation.report import files
from amcl_serve.evaluation.report.gates import Gate, judge
from amcl_serve.evaluation.result import Section, Table
from tests.amcl_serve.evaluation.report.sample import HOSTILE, renamed, sample


def test_three_files_and_nothing_else(tmp_path: Path) -> None:
    result = sample()
    verdicts = judge([Gate("auroc", 0.9), Gate("pair_eer", 0.01)], result)
    folder = tmp_path / "new" / "report"
    assert files.write(result, verdicts, folder) == folder / "report.html"
    assert sorted(path.name for path in folder.iterdir()) == ["junit.xml", "report.html", "report.json"]
    data = json.loads((folder / "report.json").read_bytes())
    assert data["title"] == result.title
    assert data["sections"][2]["figures"][0]["low"] == 0.9921
    assert [gate["passed"] for gate in data["gates"]] == [True, False]
    files.write(dataclasses.replace(result, title="another"), [], folder)
    assert json.loads((folder / "report.json").read_bytes())["title"] == "another"


def test_a_file_that_cannot_be_finished_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write(sample(), [], tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write(sample(title="another"), [], tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_json_has_numbers_of_numpy_and_no_nan() -> None:
    rows = [[np.int64(3), np.float32("nan"), float("inf"), np.float64(0.5)]]
    section = Section("s", "S", tables=[Table("t", ("a", "b", "c", "d"), rows)])  # type: ignore[arg-type]
    data = json.loads(files.as_json(dataclasses.replace(sample(), sections=[section])))
    assert data["sections"][0]["tables"][0]["rows"] == [[3, None, None, 0.5]]


def test_json_of_a_strangers_text_is_utf8() -> None:
    assert "onerror" in json.loads(files.as_json(renamed(sample(), HOSTILE)).decode("utf-8"))["title"]
