"""A folder without labels judges a run: in its course, and in a report."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from amcl_serve.metrics.label_free import PRESETS
from tests.images import photo
from tests.training.command import OF, train
from tests.training.test_evaluate import make_run, named, read, table
from training import evaluate
from training.config import recipes
from training.run import journal

FIGURES = {"rankme", "alpha_req", "alignment", "uniformity", "calibration_error", "brier"}


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 photos that no run has seen, at several depths."""
    root = tmp_path_factory.mktemp("apart")
    for index in range(16):
        path = root / ("2024/spring" if index % 2 else ".") / f"{index:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo(100 + index, size=(40, 32)))
    return root


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_run_of_any_recipe_is_judged_beside_the_untrained_network(
    name: str, folder: Path, apart: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(folder, tmp_path, name, "--adaptive", *OF[name], f"--eval=folder:{apart}", "train.epochs=1") == 0
    out, error = capsys.readouterr()
    assert "not labelled" in error
    assert "learns from" not in error
    assert "kNN" not in out
    done = out.splitlines()[-1]
    assert done.startswith("done: ")
    assert "pair AUROC" in done
    assert "RankMe" in done
    lines = [line for line in journal.read(tmp_path) if "label_free/rankme" in line]
    assert lines
    expected = FIGURES | {f"pair_auroc_{p}" for p in PRESETS} | {f"pair_auroc_features_{p}" for p in PRESETS}
    for kind in ("label_free", "untrained"):
        found = {key.partition("/")[2] for key in lines[-1] if key.startswith(f"{kind}/")}
        assert expected - {"alpha_req", "calibration_error", "brier"} <= found <= expected
    assert {line["untrained/rankme"] for line in lines} == {lines[0]["untrained/rankme"]}


def test_looking_bends_no_step(folder: Path, apart: Path, tmp_path: Path) -> None:
    for name, words in (("plain", []), ("judged", [f"--eval=folder:{apart}"])):
        assert train(folder, tmp_path / name, "--adaptive", *words, "train.epochs=3") == 0
    plain, judged = (
        [line["loss"] for line in journal.read(tmp_path / name) if "loss" in line] for name in ("plain", "judged")
    )
    assert plain == judged


def test_labelled_images_give_both(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(folder, tmp_path, f"--eval=folder:{folder}", "train.epochs=1") == 0
    (line,) = [line for line in journal.read(tmp_path) if "knn" in line]
    assert {"k", "label_free/pair_auroc_abcde", "untrained/uniformity"} <= set(line)
    out, error = capsys.readouterr()
    assert "kNN" in out.splitlines()[-1]
    assert "12 of the 12 images that judge the run are among those it learns from" in error


def test_links_to_training_images_are_told_from_others(
    folder: Path, apart: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(apart, mixed)
    for path in sorted(folder.rglob("*.jpg"))[:3]:
        (mixed / path.name).unlink(missing_ok=True)
        (mixed / path.name).symlink_to(path)
    assert train(folder, tmp_path / "run", f"--eval=folder:{mixed}", "train.epochs=1") == 0
    assert "3 of the " in capsys.readouterr().err


def test_a_broken_image_is_left_out(
    folder: Path, apart: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(apart, tmp_path / "images")
    (tmp_path / "images" / "00.jpg").write_bytes(b"no photo")
    assert train(folder, tmp_path / "run", f"--eval=folder:{tmp_path / 'images'}", "train.epochs=1") == 0
    assert "1 images could not be read" in capsys.readouterr().out


def test_too_few_images_are_refused_before_the_first_step(
    folder: Path, apart: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(apart.rglob("*.jpg"))[:7]:
        shutil.copy(path, few)
    assert train(folder, tmp_path / "run", f"--eval=folder:{few}") == 2
    assert "holds 7 images without labels" in capsys.readouterr().err
    run = make_run(tmp_path / "made")
    assert evaluate.main(["--checkpoint", str(run), "--data", f"folder:{few}"]) == 2
    assert "needs 8 images or more; there are 7 images" in capsys.readouterr().err


def test_a_report_without_labels(apart: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, base = make_run(tmp_path / "run", adaptive=True), make_run(tmp_path / "base", seed=2)
    argv = ["--checkpoint", str(run), "--against", str(base), "--data", f"folder:{apart}", "--pairs", "12"]
    assert evaluate.main(argv) == 0
    out = capsys.readouterr().out
    assert "neither kNN nor probe nor retrieval: the images of" in out
    assert "learnt from" not in out
    found = read(run / "report")
    judged, beside = named(found), table(found, "rankme")
    assert found["provenance"]["images learnt from"] == 0
    assert "knn" not in {section["name"] for section in found["sections"]}
    assert judged["rankme"]["n"] == 16
    assert judged["pair_auroc"]["n"] == 24
    assert {row for row in beside if row.startswith("pair AUROC, ")} == {f"pair AUROC, {preset}" for preset in PRESETS}
    floors = {name: value for name, value in beside["RankMe"].items() if name.startswith("untrained")}
    assert len(floors) == 2  # of three heads and of one
    assert len(set(floors.values())) == 1  # but of one backbone
    assert all(value > 1 for value in floors.values())


def test_a_report_on_the_images_that_a_run_learnt_from_says_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", f"data.spec=folder:{folder}")
    argv = ["--checkpoint", str(run), "--data", f"folder:{folder / 'class0'}", "--pairs", "8"]
    assert evaluate.main(argv) == 0
    assert "a run has learnt from 8 of these 8 images" in capsys.readouterr().out
    assert "learnt from 8 of these images" in (run / "report" / "report.html").read_text()
