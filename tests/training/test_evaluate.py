"""The command: a report folder from checkpoints, the same for the same seed; one clear line when it cannot."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

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


def test_two_runs_stand_beside_each_other_the_one_compared_with_first(report: Path) -> None:
    found = json.loads((report / "report.json").read_text())
    assert [run["name"] for run in found["runs"]] == ["base", "ours"]
    assert [run["temperature"] for run in found["runs"]] == ["constant", "adaptive"]
    assert [run["image_size"] for run in found["runs"]] == [24, 16]
    assert found["pairs"] == 8
    assert found["classes"] == 3
    base, ours = found["runs"]
    assert base["temperatures"] is None
    assert base["head_agreement"] is None
    assert len(ours["temperatures"]["abcde"]["positive"]) == 3
    assert [row[i] for i, row in enumerate(ours["head_agreement"]["positive"])] == pytest.approx([1, 1, 1])
    assert set(ours["pairs"]) == {"a", "abc", "abcde"}
    assert sum(ours["pairs"]["a"]["score"]["positive_counts"]) == 8
    assert ours["features"]["bank"] == ours["features"]["queries"] == 12
    assert set(ours["features"]["knn"]) == {"1", "5"}  # 20 and 200 do not fit a bank of 12
    assert ours["features"]["knn"]["1"] == pytest.approx(ours["features"]["retrieval"]["recall"]["1"])
    assert ours["curves"]["knn"] == [[3.5, 0.5]]


def test_the_folder_holds_the_page_the_numbers_and_the_figures(report: Path) -> None:
    figures = {
        f"{name}.svg" for name in ("features", "pairs_heads", "pairs_features", "temperatures", "heads", "curves")
    }
    assert {path.name for path in report.iterdir()} == figures | {"index.html", "report.json", "report.md"}


def test_the_page_needs_nothing_else_and_the_markdown_finds_its_figures(report: Path) -> None:
    page = (report / "index.html").read_text()
    assert page.count("<svg") == len(list(report.glob("*.svg")))
    assert "src=" not in page
    assert "@import" not in page
    markdown = (report / "report.md").read_text()
    assert all(f"]({path.name})" in markdown for path in report.glob("*.svg"))


def test_one_run_of_one_constant_head_gives_the_same_bytes_for_the_same_seed(tmp_path: Path, folder: Path) -> None:
    run = make_run(tmp_path / "alone")
    argv = ["--checkpoint", str(run / checkpoint.FILE), "--data", f"folder:{folder}", "--pairs", "9"]
    first, again = tmp_path / "first", tmp_path / "again"
    for out in (first, again):
        assert evaluate.main([*argv, "--query-limit", "9", "--out", str(out)]) == 0
    (only,) = json.loads((first / "report.json").read_text())["runs"]
    assert only["features"]["queries"] == 9
    names = {path.name for path in first.iterdir()}
    assert not names & {"temperatures.svg", "heads.svg"}
    assert names == {path.name for path in again.iterdir()}
    assert all((first / name).read_bytes() == (again / name).read_bytes() for name in names)


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
