"""What goes wrong in the course of a run: images, steps, collapse."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.training.command import train
from training.pretrain import main
from training.run import checkpoint


def test_broken_images_are_counted_and_too_many_end_the_run(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder, tmp_path / "images")
    (tmp_path / "images" / "class0" / "00.jpg").write_bytes(b"\xff\xd8 not a photo")
    assert train(tmp_path / "images", tmp_path / "run", "train.epochs=1") == 1
    error = capsys.readouterr().err
    assert "class0/00.jpg cannot be decoded" in error
    assert "1 of 24 images cannot be decoded" in error


def test_a_broken_evaluation_image_is_left_out_and_counted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder, tmp_path / "images")
    (tmp_path / "images" / "class0" / "00.jpg").write_bytes(b"\xff\xd8 not a photo")
    assert train(folder, tmp_path / "run", f"--eval=folder:{tmp_path / 'images'}", "train.epochs=1") == 0
    assert "1 images could not be read" in capsys.readouterr().out


def test_a_knn_that_a_kill_prevented_is_made_up_for(folder: Path, tmp_path: Path) -> None:
    evaluation = f"--eval=folder:{folder}"
    train(folder, tmp_path, evaluation, "train.epochs=1")
    state = {k: v for k, v in checkpoint.load(tmp_path).items() if k not in ("format", "version")}
    checkpoint.save(tmp_path / checkpoint.FILE, {**state, "evaluated": 0})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    (tmp_path / "metrics.jsonl").write_text("\n".join(line for line in lines if "knn" not in line) + "\n")
    assert main(["--resume", f"--out={tmp_path}"]) == 0
    assert (tmp_path / "metrics.jsonl").read_text().count('"knn"') == 1
    assert main(["--resume", f"--out={tmp_path}"]) == 0
    assert (tmp_path / "metrics.jsonl").read_text().count('"knn"') == 1


def test_steps_that_are_not_finite_are_left_out_and_end_the_run_when_they_stay(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["train.lr=1e30", "train.clip_norm=0", "train.epochs=20", "train.checkpoint_every=1"]
    assert train(folder, tmp_path, *settings) == 1
    error = capsys.readouterr().err
    assert error.count("is not finite; the step is left out") == 4
    assert "like the 4 before it: start a new run with a lower train.lr" in error
    failed = int(re.findall(r"gradient of step (\d+) is", error)[0])
    assert checkpoint.load(tmp_path)["step"] == failed - 1  # not one of the steps after it


def test_a_collapse_that_stays_ends_the_run_and_keeps_its_checkpoint(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def since_the_fourth(numbers: object) -> str | None:
        seen.append(1)
        return "collapse: for the test" if len(seen) > 3 else None

    monkeypatch.setattr("training.run.trainer.collapse", since_the_fourth)
    settings = ["train.epochs=9", "train.collapse_patience=4", "train.checkpoint_every=1"]
    assert train(folder, tmp_path, *settings) == 1
    error = capsys.readouterr().err
    assert error.count("collapse: for the test") == 5
    assert "all readings since step 4 show collapse; checkpoint of step 3 in" in error
    state = checkpoint.load(tmp_path)
    assert (state["step"], state["collapsed"]) == (3, False)  # the last good one


def test_a_run_that_has_only_collapsed_keeps_what_there_is(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.run.trainer.collapse", lambda numbers: "collapse: for the test")
    assert train(folder, tmp_path, "train.epochs=9", "train.collapse_patience=2", "train.checkpoint_every=1") == 1
    assert "all readings since step 1 show collapse; checkpoint of step 2 in" in capsys.readouterr().err
    assert checkpoint.load(tmp_path)["collapsed"] is True
    monkeypatch.setattr("training.run.trainer.collapse", lambda numbers: None)
    assert main(["--resume", f"--out={tmp_path}", "train.collapse_patience=0", "train.max_steps=8"]) == 0
