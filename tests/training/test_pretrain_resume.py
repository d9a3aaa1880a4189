"""Stopped, killed and resumed: the losses are those of a run that was never interrupted."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.training.command import OF, SMALL, losses, train
from training.config import recipes
from training.pretrain import main
from training.run import checkpoint


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("name", list(recipes.RECIPES))
def test_every_recipe_runs_resumes_exactly_and_loads(folder: Path, tmp_path: Path, name: str, adaptive: bool) -> None:
    settings = [name, *(["--adaptive"] if adaptive else []), *OF[name], "train.epochs=2"]
    assert train(folder, tmp_path / "whole", *settings) == 0
    last = max(losses(tmp_path / "whole"))
    assert last == (9 if name == "lgp" else 6)  # LGP's first stage has an epoch of its own
    # Stopped within LGP's first stage and within its second; within the only stage of the others.
    assert train(folder, tmp_path / "parts", *settings, "train.max_steps=2") == 0
    assert main(["--resume", f"--out={tmp_path / 'parts'}", "train.max_steps=3"]) == 0  # where LGP's first stage ends
    assert main(["--resume", f"--out={tmp_path / 'parts'}", "train.max_steps=4"]) == 0
    assert main(["--resume", f"--out={tmp_path / 'parts'}", "train.max_steps=0"]) == 0
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    model, config = checkpoint.load_model(tmp_path / "parts")
    features, heads = model(torch.zeros(2, 3, 16, 16))
    assert features.shape == (2, model.feature_dim)
    assert heads.shape == (2, 3 if adaptive else 1, 8)
    assert config.recipe == name


@pytest.mark.parametrize("resident", ["always", "never"])
def test_a_run_that_grows_its_images_resumes_exactly(folder: Path, tmp_path: Path, resident: str) -> None:
    settings = ["data.early_size=8", "data.early_share=0.5", f"data.resident={resident}", "train.epochs=2"]
    assert train(folder, tmp_path / "whole", *settings) == 0
    assert train(folder, tmp_path / "parts", *settings, "train.max_steps=2") == 0
    for stop in (3, 5, 0):  # as the images grow, and after
        assert main(["--resume", f"--out={tmp_path / 'parts'}", f"train.max_steps={stop}"]) == 0
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert train(folder, tmp_path / "small", *settings, "data.early_share=1") == 0
    assert train(folder, tmp_path / "large", *settings, "data.early_size=0") == 0
    small, whole, large = (losses(tmp_path / name) for name in ("small", "whole", "large"))
    assert [whole[step] == small[step] for step in range(1, 7)] == [True] * 3 + [False] * 3
    assert whole[1] != large[1]


def test_stopping_early_does_not_bend_the_schedule(folder: Path, tmp_path: Path) -> None:
    train(folder, tmp_path / "whole", "train.epochs=2")
    train(folder, tmp_path / "parts", "train.epochs=2", "train.max_steps=2")
    assert len(losses(tmp_path / "parts")) == 2
    assert main(["--resume", f"--out={tmp_path / 'parts'}", "train.max_steps=0"]) == 0
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_a_run_of_the_form_that_held_the_keys_of_all_methods_goes_on(folder: Path, tmp_path: Path) -> None:
    train(folder, tmp_path / "whole", "train.epochs=2")
    train(folder, tmp_path / "parts", "train.epochs=2", "train.max_steps=2")
    state = checkpoint.load(tmp_path / "parts")
    config = {name: section for name, section in state["config"].items() if name != "schema"}
    config["heads"] |= {"predictor_hidden": 0, "shared_projector": False}
    config |= {"masked": {"ratio": 0.75}, "momentum": {"queue": 4096}}
    changed = {name: part for name, part in state.items() if name not in ("format", "version", "config_hash")}
    checkpoint.save(tmp_path / "parts" / checkpoint.FILE, changed | {"config": config})
    assert main(["--resume", f"--out={tmp_path / 'parts'}", "train.max_steps=0"]) == 0
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


PIPELINES = {
    "resident": ["data.resident=always"],
    "no workers": ["data.resident=never", "data.workers=0"],
    "two workers": ["data.resident=never", "data.workers=2"],
}
EVERY = [(name, True, pipeline) for name in recipes.RECIPES for pipeline in PIPELINES]
EVERY += [(name, False, "two workers") for name in recipes.RECIPES]
FAST = [("simclr", True, "two workers"), ("moco", True, "resident")]


@pytest.mark.parametrize(
    ("name", "adaptive", "pipeline"), [pytest.param(*c, marks=() if c in FAST else pytest.mark.slow) for c in EVERY]
)
def test_kill_minus_nine_and_resume_gives_the_identical_losses(
    folder: Path, tmp_path: Path, name: str, adaptive: bool, pipeline: str
) -> None:
    settings = [name, *(["--adaptive"] if adaptive else []), *OF[name], "train.epochs=200", "train.checkpoint_every=2"]
    settings += PIPELINES[pipeline]
    train(folder, tmp_path / "whole", *settings, "train.max_steps=12")
    broken = tmp_path / "broken"
    command = [sys.executable, "-m", "training.pretrain", *settings, *SMALL, f"--data=folder:{folder}"]
    process = subprocess.Popen([*command, f"--out={broken}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = random.randint(3, 9)  # and the kill falls anywhere within a step
    deadline = time.monotonic() + 120
    while len(losses(broken)) < after:
        assert process.poll() is None, "ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.003)
    process.send_signal(signal.SIGKILL)
    process.wait()
    saved = checkpoint.load(broken)["step"]
    assert main(["--resume", f"--out={broken}", f"train.max_steps={max(12, saved + 2)}"]) == 0
    whole, resumed = losses(tmp_path / "whole"), losses(broken)
    assert list(resumed) == list(range(1, len(resumed) + 1))
    assert {step: resumed[step] for step in whole} == whole


def test_a_signal_saves_and_says_how_to_go_on(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.pretrain", f"--data=folder:{folder}", f"--out={tmp_path}", *SMALL]
    command += ["train.epochs=5000", "data.workers=2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while not losses(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)  # as service managers do: the workers get it too
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert f"--resume --out {tmp_path}" in output
    assert checkpoint.load(tmp_path)["step"] == max(losses(tmp_path))


def test_a_run_is_neither_overwritten_nor_bent(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(folder, tmp_path, "train.max_steps=1")
    assert train(folder, tmp_path, "train.max_steps=1") == 2
    assert "holds a run already" in capsys.readouterr().err
    assert main(["--resume", f"--out={tmp_path}", "train.lr=1"]) == 2
    assert "train.lr cannot change on --resume" in capsys.readouterr().err
    assert main(["--resume", f"--out={tmp_path}", f"--data=folder:{folder}/class0"]) == 2
    assert "other images" in capsys.readouterr().err


def test_a_closed_pipe_stops_with_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.pretrain", f"--data=folder:{folder}", f"--out={tmp_path}", *SMALL]
    process = subprocess.Popen([*command, "train.epochs=5000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()  # as `| head -1` does
    _, error = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert all(line.startswith(b"warning at step 0: ") for line in error.splitlines())
    assert checkpoint.load(tmp_path)["step"] >= 1
