"""The study of a served model's temperatures: its curve of reference pairs, and the whole on a tiny bundle."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.study.temperatures import expected_temperature, main
from export.__main__ import main as export
from tests.export.tiny import make_photo_folder, make_run


def test_the_curve_follows_each_head_and_ends_with_the_reference():
    similarity = np.random.default_rng(0).uniform(-0.5, 0.8, (4000, 2))
    curve = expected_temperature(similarity, np.stack([1 - similarity[:, 0], 0.3 + similarity[:, 1] ** 2], axis=1))
    inside = np.array([[0.0, 0.0], [0.5, 0.5]])
    np.testing.assert_allclose(curve(inside), [[1.0, 0.3], [0.5, 0.55]], atol=0.02)
    outside = curve(np.array([[1.0, 0.0], [0.0, -0.9]]))
    np.testing.assert_array_equal(np.isnan(outside), [[True, False], [False, True]])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    home = tmp_path_factory.mktemp("study")
    run = make_run(home / "run")
    make_photo_folder(home / "data" / "train", 80, seed=1)
    make_photo_folder(home / "data" / "test", 80, seed=2, first=475)
    assert export(["--checkpoint", str(run), "--out", str(home / "bundle"), "--precision", "fp32"]) == 0
    return home


@pytest.mark.slow
def test_the_whole_study(study, capsys):
    arguments = ["--data", str(study / "data"), "--bundle", str(study / "bundle"), "--pairs", "40"]
    assert main([*arguments, "--results", str(study / "found.jsonl")]) == 0
    found = json.loads((study / "found.jsonl").read_text())
    assert found["retrieval"]["bank"] == found["retrieval"]["queries"] == 80
    assert all(0 <= area <= 1 for area in found["retrieval"]["aurc"].values())
    rows = {(row["degradation"], row["strength"]): row for row in found["response"]}
    itself = rows["itself", 0.0]
    assert (itself["similarity"], itself["compared"], itself["excess"]) == (pytest.approx(1, abs=1e-5), 0, None)
    assert len(rows) == 13
    assert "| itself | 0 | 1.000 |" in capsys.readouterr().out


@pytest.mark.slow
def test_a_constant_temperature_is_refused(study, capsys):
    run = make_run(study / "constant", standard=True)
    out = study / "constant-bundle"
    assert export(["--checkpoint", str(run), "--out", str(out), "--precision", "fp32"]) == 0
    assert main(["--data", str(study / "data"), "--bundle", str(out)]) == 2
    assert "nothing to study" in capsys.readouterr().err
