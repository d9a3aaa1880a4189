"""The command: a report folder from checkpoints, the same for the same seed; one clear line when it cannot."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from training import config as configs
from training import data, evaluate
from training.config import recipes
from training.model.model import AmclModel
from training.report.runs import open_run, read_curves, told_apart
from training.run import checkpoint


def make_run(folder: Path, *overrides: str, adaptive: bool = False, seed: int = 1) -> Path:
    """A run folder with a checkpoint of random weights and a few lines of metrics."""
    base = recipes.recipe("simclr")
    small = ["backbone.width=4", "heads.hidden=8", "heads.dim=4", "data.image_size=16", "data.workers=0"]
    config = configs.override(recipes.adaptive(base) if adaptive else base, [*small, *overrides])
    torch.manual_seed(seed)
    weights = {f"model.{name}": value for name, value in AmclModel(config).state_dict().items()}
    folder.mkdir(parents=True)
    checkpoint.save(
        folder / checkpoint.FILE, {"config": configs.to_dict(config), "method": weights, "step": 7, "stage": 0}
    )
    lines = [{"step": n, "epoch": n / 2, "loss": 1 / n, "effective_rank": 3.0} for n in range(1, 8)]
    text = "".join(json.dumps(line) + "\n" for line in [*lines, {"step": 7, "epoch": 3.5, "knn": 0.5, "k": 20}])
    (folder / "metrics.jsonl").write_text(text + '{"step": 8, "epo')
    return folder


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    root = tmp_path_factory.mktemp("runs")
    ours = make_run(root / "ours", adaptive=True)
    base = make_run(root / "base", "data.image_size=24", seed=2)
    argv = ["--checkpoint", str(ours), "--against", str(base), "--data", f"folder:{folder}", "--pairs", "8"]
    assert evaluate.main([*argv, "--device", "cpu"]) == 0
    return ours / "report"


Json = dict[str, Any]


def read(report: Path) -> Json:
    return json.loads((report / "report.json").read_text())  # type: ignore[no-any-return]


def named(found: Json) -> dict[str, Json]:
    return {figure["name"]: figure for section in found["sections"] for figure in section["figures"]}


def table(found: Json, section: str) -> dict[str, dict[str, Any]]:
    """The first table of a section: by row, the cells by column."""
    first = next(each for each in found["sections"] if each["name"] == section)["tables"][0]
    return {str(row[0]): dict(zip(first["columns"], row, strict=True)) for row in first["rows"]}


def test_two_runs_and_their_untrained_networks_stand_beside_each_other(report: Path) -> None:
    found = read(report)
    runs = table(found, "runs")
    assert list(runs) == ["base", "ours"]
    assert "constant τ" in runs["base"]["method"]
    assert "adaptive τ" in runs["ours"]["method"]
    assert [run["backbone"].rpartition(", ")[2] for run in runs.values()] == ["24 px", "16 px"]
    assert found["provenance"]["model"] == "ours"
    assert found["provenance"]["against"] == "base"
    shares, judged = table(found, "knn"), named(found)
    assert set(shares["kNN, k = 1, %"]) == {"", "base", "ours", "untrained base", "untrained ours"}
    assert 100 * judged["recall_at_1"]["value"] == pytest.approx(shares["kNN, k = 1, %"]["ours"])
    assert 100 * judged["knn"]["value"] == pytest.approx(shares["kNN, k = 5, %"]["ours"])  # 20 needs a larger bank
    assert judged["knn"]["n"] == 12
    assert judged["knn"]["low"] <= judged["knn"]["value"] <= judged["knn"]["high"]
    probed = table(found, "linear_probe")["Linear probe, %"]
    assert 100 * judged["linear_probe"]["value"] == pytest.approx(probed["ours"])
    assert set(probed) == set(shares["kNN, k = 1, %"])
    assert judged["map"]["low"] <= judged["map"]["value"] <= judged["map"]["high"]
    assert set(table(found, "rankme")["pair AUROC, b"]) == {"", "base", "ours", "untrained base", "untrained ours"}


def test_pairs_temperatures_heads_and_curves_are_told(report: Path) -> None:
    found = read(report)
    judged = named(found)
    for name in ("pair_auroc", "pair_auroc_features", "pair_auroc_abc", "pair_auroc_a"):
        assert judged[name]["n"] == 16
        assert 0 <= judged[name]["low"] <= judged[name]["value"] <= judged[name]["high"] <= 1
    sections = {section["name"]: section for section in found["sections"]}
    rows = sections["pair_auroc"]["tables"][0]["rows"]
    assert {(row[0], row[2]) for row in rows} == {
        ("score", "base"),
        ("score", "ours"),
        ("logit", "ours"),
        *(("feature", name) for name in ("base", "ours", "untrained base", "untrained ours")),
    }
    assert all(
        sum(series["y"]) == pytest.approx(1) for plot in sections["pair_auroc"]["plots"] for series in plot["series"]
    )
    assert {(row[0], row[3]) for row in sections["temperatures"]["tables"][0]["rows"]} == {
        ("ours", n) for n in (1, 2, 3)
    }
    agreement = sections["heads"]["tables"][0]["rows"]
    assert [row[place] for place, row in enumerate(agreement, 1)] == pytest.approx([1, 1, 1])
    off = [agreement[i][j + 1] for i, j in ((0, 1), (0, 2), (1, 2))]
    assert judged["head_correlation_positives"]["value"] == pytest.approx(sum(off) / 3)
    (curve,) = (plot for plot in sections["training"]["plots"] if plot["name"] == "curve_knn")
    assert [(each["label"], each["x"], each["y"]) for each in curve["series"]] == [
        ("base", [3.5], [0.5]),
        ("ours", [3.5], [0.5]),
    ]


def test_the_folder_is_that_of_every_evaluation_and_the_page_needs_nothing_else(report: Path) -> None:
    assert {path.name for path in report.iterdir()} == {"report.html", "report.json", "junit.xml"}
    page = (report / "report.html").read_text()
    assert page.count('role="img"') == sum(len(section["plots"]) for section in read(report)["sections"])
    assert "src=" not in page
    assert "@import" not in page


@pytest.mark.slow
def test_one_run_of_one_constant_head_gives_the_same_numbers_for_the_same_seed(tmp_path: Path, folder: Path) -> None:
    run = make_run(tmp_path / "alone")
    argv = ["--checkpoint", str(run / checkpoint.FILE), "--data", f"folder:{folder}", "--pairs", "9"]
    found = []
    for out in (tmp_path / "first", tmp_path / "again"):
        assert evaluate.main([*argv, "--query-limit", "9", "--out", str(out)]) == 0
        found.append(read(out))
        assert found[-1].pop("seconds") > 0
        assert found[-1].pop("started")
    assert found[0] == found[1]
    assert named(found[0])["knn"]["n"] == 9
    assert not {"temperatures", "heads"} & {section["name"] for section in found[0]["sections"]}


@pytest.mark.parametrize(
    ("gate", "code", "word"), [pytest.param("knn=0", 0, "passed", marks=pytest.mark.slow), ("rankme=1000", 1, "failed")]
)
def test_a_gate_decides_the_exit_code(
    gate: str, code: int, word: str, tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run")
    argv = ["--checkpoint", str(run), "--data", f"folder:{folder}", "--pairs", "8", "--fail-under", gate]
    assert evaluate.main(argv) == code
    assert f"{gate}: {word}" in capsys.readouterr().out
    assert [each["passed"] for each in read(run / "report")["gates"]] == [not code]


@pytest.mark.parametrize("case", ["no checkpoint", "empty", "small bank", "specification", "device", "against"])
def test_what_cannot_be_evaluated_is_one_line_and_exit_2(
    case: str, tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run")
    argv, message = {
        "no checkpoint": (["--checkpoint", str(tmp_path), "--data", f"folder:{folder}"], "no checkpoint"),
        "empty": (["--checkpoint", str(run), "--data", f"folder:{tmp_path / 'run'}"], "no images under"),
        "small bank": (["--checkpoint", str(run), "--data", f"folder:{folder}", "--bank-limit", "2"], "--bank-limit"),
        "specification": (["--checkpoint", str(run), "--data", str(folder)], "folder:PATH"),
        "device": (["--checkpoint", str(run), "--data", f"folder:{folder}", "--device", "cuda:99"], "device"),
        "against": (
            ["--checkpoint", str(run), "--data", f"folder:{folder}", "--against", str(tmp_path / "none")],
            "no checkpoint",
        ),
    }[case]
    assert evaluate.main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize("argument", ["--pairs=1", "--bank-limit=x", "--seed=-1"])
def test_a_wrong_number_is_refused(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        evaluate.main(["--checkpoint", "x", "--data", "y", argument])
    assert "whole number" in capsys.readouterr().err


def test_limits_take_evenly_and_keep_the_labels_beside_their_images(folder: Path) -> None:
    whole = data.open_labelled(f"folder:{folder}", bank_limit=50)
    some = evaluate.limited(whole, 6, 3)
    assert (len(some.bank.indices), len(some.queries.indices)) == (6, 3)
    assert set(some.bank.indices) <= set(whole.bank.indices)
    assert set(some.bank.labels) == {"class0", "class1", "class2"}
    assert evaluate.limited(whole, 99, 99).bank.indices.tolist() == whole.bank.indices.tolist()


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    first, second = (open_run(make_run(tmp_path / name / "run"), "cpu") for name in ("x", "y"))
    assert [run.name for run in told_apart([first, second])] == ["run (1)", "run (2)"]
    assert [run.name for run in told_apart([first, dataclasses.replace(second, name="other")])] == ["run", "other"]


def test_curves_are_thinned_and_torn_lines_left_out(tmp_path: Path) -> None:
    lines = [json.dumps({"step": n, "epoch": n, "loss": float(n)}) for n in range(1000)]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 1000, "ep']))
    (points,) = read_curves(tmp_path).values()
    assert len(points) == 250
    assert points[0] == (1.5, 1.5)
    assert read_curves(tmp_path / "nothing") == {}
