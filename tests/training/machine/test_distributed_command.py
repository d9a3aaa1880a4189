"""The command in two processes: whatever fails, on whichever of them, both end alike and the first alone says why."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import shutil
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch.distributed as dist

from tests.training.command import SMALL
from training import data
from training.pretrain import main
from training.run import checkpoint, journal, trainer

PATIENCE = 240  # seconds; the machine may be busy
GOOD = ["--data=folder:{folder}", "--out={here}/run", *SMALL]

# name: words of the command, its exit code, what it says of the reason
FAILURES: Mapping[str, tuple[list[str], int, str]] = {
    "unknown option": (["--nosuch"], 2, "unrecognized arguments: --nosuch"),
    "unknown recipe": (["nosuch", *GOOD], 2, "the recipes are"),
    "indivisible batch": ([*GOOD, "train.batch_size=9"], 2, "must be a multiple of the 2 processes"),
    "evaluation without images": ([*GOOD, "--eval=folder:{folder}/none"], 2, "is not a folder"),
    "nowhere to write": ([*GOOD, "--out={here}/file/run"], 2, "cannot write to"),
    "nothing to resume": (["--resume", "--out={here}/run"], 2, "no checkpoint"),
    "unreadable data for one": (GOOD, 2, "the second process cannot see the images"),
    "broken images": ([*GOOD, "--data=folder:{broken}"], 1, "of 24 images cannot be decoded"),
    "broken evaluation": ([*GOOD, "--eval=folder:{broken}", "train.epochs=1"], 1, "no verdict after step 3"),
    "unwritable checkpoint": ([*GOOD, "train.max_steps=1"], 1, "cannot write a checkpoint"),
    "not a number": ([*GOOD, "train.lr=1e30", "train.clip_norm=0"], 1, "lower train.lr"),
    "collapse": ([*GOOD, "train.collapse_patience=2"], 1, "show collapse"),
}


def _broken(labelled: Path, here: Path) -> Path:
    for path in labelled.rglob("*.jpg"):
        copy = here / "broken" / path.relative_to(labelled)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(b"\xff\xd8 not a photo")
    return here / "broken"


def _cannot_see(_: str) -> NoReturn:
    raise ValueError("the second process cannot see the images")


def _prepare(name: str, rank: int, here: Path, patch: pytest.MonkeyPatch) -> None:
    """What goes wrong for this process alone."""
    if name == "unreadable data for one" and rank == 1:
        patch.setattr(data, "open_images", _cannot_see)
    if name == "collapse" and rank == 0:
        patch.setattr(trainer, "collapse", lambda _: "collapse: features hardly differ")
    if name == "unwritable checkpoint" and rank == 0:
        (here / "run" / "checkpoint.pt.tmp").mkdir(parents=True)
    if name == "nowhere to write" and rank == 0:
        (here / "file").write_text("")


def _call(words: list[str], places: Mapping[str, Path]) -> dict[str, Any]:
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        try:
            code: object = main([word.format(**places) for word in words])
        except SystemExit as stop:
            code = stop.code
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


def _process(rank: int, folder: Path, root: Path) -> None:
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "RANK": str(rank), "LOCAL_WORLD_SIZE": "2"}
    dist.init_process_group("gloo", init_method=f"file://{root / 'meeting'}", rank=rank, world_size=2)
    said = {}
    for name, (words, _, _) in FAILURES.items():
        here = root / name.replace(" ", "-")
        with pytest.MonkeyPatch.context() as patch:
            _prepare(name, rank, here, patch)
            said[name] = _call(words, {"folder": folder, "broken": root / "broken", "here": here})
    run = [*GOOD, "--eval=folder:{folder}", "--adaptive", "train.max_steps=4"]
    said["run"] = _call(run, {"folder": folder, "here": root})
    said["help"] = _call(["--help"], {})
    (root / f"{rank}.json").write_text(json.dumps(said))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def root(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have called the command in every way; `0.json` and `1.json` hold what they said."""
    root = tmp_path_factory.mktemp("command")
    _broken(folder, root)
    for name in FAILURES:
        (root / name.replace(" ", "-")).mkdir()
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_process, args=(rank, folder, root)) for rank in range(2)]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(PATIENCE)
            assert process.exitcode == 0
    finally:
        for process in processes:
            process.kill()
    return root


def _said(root: Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    first, second = (json.loads((root / f"{rank}.json").read_text())[name] for rank in range(2))
    return first, second


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_of_one_ends_both_and_is_said_once(root: Path, name: str) -> None:
    first, second = _said(root, name)
    _, code, reason = FAILURES[name]
    assert first["code"] == second["code"] == code
    assert second["err"] == second["out"] == ""
    errors = [line for line in first["err"].splitlines() if "error: " in line]
    assert len(errors) == 1
    assert reason in errors[0]


def test_broken_images_of_both_processes_are_counted(root: Path) -> None:
    first, _ = _said(root, "broken images")
    assert "8 of 24 images" in first["err"]  # the first batch, of which either process read a half


def test_the_first_process_alone_writes_and_prints(root: Path) -> None:
    first, second = _said(root, "run")
    assert first["code"] == second["code"] == 0
    assert second["out"] == second["err"] == ""
    assert "2 processes of cpu" in first["out"]
    assert "SyncBatchNorm needs CUDA" in first["out"]
    assert [line.split(":")[0] for line in first["out"].splitlines() if "kNN" in line] == [
        "epoch 1.0",
        "epoch 1.3",
        "done",
    ]
    lines = journal.read(root / "run")
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4]
    assert [line["step"] for line in lines if "knn" in line] == [3, 4]
    assert checkpoint.load(root / "run")["step"] == 4
    assert len(list((root / "run" / "tensorboard").iterdir())) == 1


def test_help_is_given_once(root: Path) -> None:
    first, second = _said(root, "help")
    assert first["code"] == second["code"] == 0
    assert "examples:" in first["out"]
    assert second["out"] == ""


def test_a_run_of_two_goes_on_in_one(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "run", tmp_path / "run")
    assert main(["--resume", f"--out={tmp_path / 'run'}", "train.max_steps=6", "train.threads=2"]) == 0
    lines = journal.read(tmp_path / "run")
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 6]
