"""The command as a user runs it: it runs, resumes exactly after kill -9, stops on a signal, says what is wrong."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from training.config import recipes
from training.pretrain import main
from training.run import checkpoint, journal

SMALL = [
    "data.image_size=16",
    "data.workers=0",
    "train.device=cpu",
    "backbone.width=4",
    "heads.hidden=16",
    "heads.dim=8",
    "train.batch_size=8",
    "train.threads=1",
    "train.log_every=1",
    "eval.k=3",
]


VIT = ["backbone.patch=4", "backbone.attention_heads=1", "backbone.depth=3", "backbone.width=8"]
VIT += ["masked.decoder_width=8", "masked.decoder_depth=1", "masked.epochs=1", "train.warmup_epochs=0"]
OF = {name: VIT if name in ("lgp", "can") else ["momentum.queue=40"] for name in recipes.RECIPES}


def _losses(run: Path) -> dict[int, float]:
    lines = journal.read(run)
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def _train(folder: Path, out: Path, *more: str) -> int:
    return main([*more, f"--data=folder:{folder}", f"--out={out}", *SMALL])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU wants a C++ compiler")
def test_a_compiled_network_takes_the_same_steps(folder: Path, tmp_path: Path) -> None:
    words = ["moco", f"--eval=folder:{folder}", "momentum.queue=40", "train.precision=fp32", "train.max_steps=4"]
    assert _train(folder, tmp_path / "plain", *words) == 0
    assert _train(folder, tmp_path / "compiled", *words, "train.compile=true") == 0
    plain, compiled = _losses(tmp_path / "plain"), _losses(tmp_path / "compiled")
    assert plain != compiled  # it is other code
    assert compiled == pytest.approx(plain, rel=1e-4)


def test_a_run_leaves_what_it_should(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _train(folder, tmp_path, "--adaptive", f"--eval=folder:{folder}", "train.epochs=2") == 0
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "metrics.jsonl", "checkpoint.pt", "tensorboard"}
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["temperature"]["kind"] == "adaptive"
    assert config["train"]["device"] in ("cpu", "cuda")
    lines = journal.read(tmp_path)
    assert [line["epoch"] for line in lines if "knn" in line] == [1, 2]
    assert {"tau_positive", "tau_negative_head2", "effective_rank"} <= set(lines[0])
    model, loaded = checkpoint.load_model(tmp_path)
    features, heads = model(torch.zeros(2, 3, 16, 16))
    assert features.shape == (2, 32)
    assert heads.shape == (2, 3, 8)
    assert loaded.heads.num == 3
    assert "kNN" in capsys.readouterr().out


@pytest.mark.parametrize("negatives", ["posterior", "topk", "max"])
@pytest.mark.parametrize("adaptive", [True, False])
def test_every_form_trains(folder: Path, tmp_path: Path, negatives: str, adaptive: bool) -> None:
    preset = ["--adaptive"] if adaptive else []
    assert _train(folder, tmp_path, *preset, f"loss.negatives={negatives}", "loss.top_k=4", "train.max_steps=2") == 0


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("name", list(recipes.RECIPES))
def test_every_recipe_runs_resumes_exactly_and_loads(folder: Path, tmp_path: Path, name: str, adaptive: bool) -> None:
    settings = [name, *(["--adaptive"] if adaptive else []), *OF[name], "train.epochs=2"]
    assert _train(folder, tmp_path / "whole", *settings) == 0
    last = max(_losses(tmp_path / "whole"))
    assert last == (9 if name == "lgp" else 6)  # LGP's first stage has an epoch of its own
    # Stopped within LGP's first stage and within its second; within the only stage of the others.
    assert _train(folder, tmp_path / "parts", *settings, "train.max_steps=2") == 0
    assert main(["--resume", f"--out={tmp_path / 'parts'}", "train.max_steps=3"]) == 0  # where LGP's first stage ends
    assert main(["--resume", f"--out={tmp_path / 'parts'}", "train.max_steps=4"]) == 0
    assert main(["--resume", f"--out={tmp_path / 'parts'}", "train.max_steps=0"]) == 0
    assert _losses(tmp_path / "parts") == _losses(tmp_path / "whole")
    model, config = checkpoint.load_model(tmp_path / "parts")
    features, heads = model(torch.zeros(2, 3, 16, 16))
    assert features.shape == (2, model.feature_dim)
    assert heads.shape == (2, 3 if adaptive else 1, 8)
    assert config.recipe == name


@pytest.mark.parametrize("resident", ["always", "never"])
def test_a_run_that_grows_its_images_resumes_exactly(folder: Path, tmp_path: Path, resident: str) -> None:
    settings = ["data.early_size=8", "data.early_share=0.5", f"data.resident={resident}", "train.epochs=2"]
    assert _train(folder, tmp_path / "whole", *settings) == 0
    assert _train(folder, tmp_path / "parts", *settings, "train.max_steps=2") == 0
    for stop in (3, 5, 0):  # as the images grow, and after
        assert main(["--resume", f"--out={tmp_path / 'parts'}", f"train.max_steps={stop}"]) == 0
    assert _losses(tmp_path / "parts") == _losses(tmp_path / "whole")
    assert _train(folder, tmp_path / "small", *settings, "data.early_share=1") == 0
    assert _train(folder, tmp_path / "large", *settings, "data.early_size=0") == 0
    small, whole, large = (_losses(tmp_path / name) for name in ("small", "whole", "large"))
    assert [whole[step] == small[step] for step in range(1, 7)] == [True] * 3 + [False] * 3
    assert whole[1] != large[1]


@pytest.mark.parametrize("name", ["simclr", "moco", "lgp", "can"])
@pytest.mark.parametrize("of", ["constant", "pairs", "views", "similarity"])
def test_heads_that_judge_together_train(folder: Path, tmp_path: Path, name: str, of: str) -> None:
    words = ["temperature.kind=constant"] if of == "constant" else [f"temperature.of={of}"]
    words += ["loss.heads=joint", "temperature.value=0.3", "temperature.low=0.09", "temperature.high=1.5"]
    assert _train(folder, tmp_path, name, "--adaptive", *OF[name], *words, "train.epochs=1") == 0
    assert checkpoint.load_model(tmp_path)[1].loss.heads == "joint"


def test_stopping_early_does_not_bend_the_schedule(folder: Path, tmp_path: Path) -> None:
    _train(folder, tmp_path / "whole", "train.epochs=2")
    _train(folder, tmp_path / "parts", "train.epochs=2", "train.max_steps=2")
    assert len(_losses(tmp_path / "parts")) == 2
    assert main(["--resume", f"--out={tmp_path / 'parts'}", "train.max_steps=0"]) == 0
    assert _losses(tmp_path / "parts") == _losses(tmp_path / "whole")


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
    _train(folder, tmp_path / "whole", *settings, "train.max_steps=12")
    broken = tmp_path / "broken"
    command = [sys.executable, "-m", "training.pretrain", *settings, *SMALL, f"--data=folder:{folder}"]
    process = subprocess.Popen([*command, f"--out={broken}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = random.randint(3, 9)  # and the kill falls anywhere within a step
    deadline = time.monotonic() + 120
    while len(_losses(broken)) < after:
        assert process.poll() is None, "ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.003)
    process.send_signal(signal.SIGKILL)
    process.wait()
    saved = checkpoint.load(broken)["step"]
    assert main(["--resume", f"--out={broken}", f"train.max_steps={max(12, saved + 2)}"]) == 0
    whole, resumed = _losses(tmp_path / "whole"), _losses(broken)
    assert list(resumed) == list(range(1, len(resumed) + 1))
    assert {step: resumed[step] for step in whole} == whole


def test_a_signal_saves_and_says_how_to_go_on(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.pretrain", f"--data=folder:{folder}", f"--out={tmp_path}", *SMALL]
    command += ["train.epochs=5000", "data.workers=2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while not _losses(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)  # as service managers do: the workers get it too
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert f"--resume --out {tmp_path}" in output
    assert checkpoint.load(tmp_path)["step"] == max(_losses(tmp_path))


def test_broken_images_are_counted_and_too_many_end_the_run(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder, tmp_path / "images")
    (tmp_path / "images" / "class0" / "00.jpg").write_bytes(b"\xff\xd8 not a photo")
    assert _train(tmp_path / "images", tmp_path / "run", "train.epochs=1") == 1
    error = capsys.readouterr().err
    assert "class0/00.jpg cannot be decoded" in error
    assert "1 of 24 images cannot be decoded" in error


def test_a_broken_evaluation_image_is_left_out_and_counted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder, tmp_path / "images")
    (tmp_path / "images" / "class0" / "00.jpg").write_bytes(b"\xff\xd8 not a photo")
    assert _train(folder, tmp_path / "run", f"--eval=folder:{tmp_path / 'images'}", "train.epochs=1") == 0
    assert "1 images could not be read" in capsys.readouterr().out


def test_a_knn_that_a_kill_prevented_is_made_up_for(folder: Path, tmp_path: Path) -> None:
    evaluation = f"--eval=folder:{folder}"
    _train(folder, tmp_path, evaluation, "train.epochs=1")
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
    assert _train(folder, tmp_path, *settings) == 1
    error = capsys.readouterr().err
    assert error.count("is not finite; the step is left out") == 4
    assert "like the 4 before it: start a new run with a lower train.lr" in error
    failed = int(re.findall(r"gradient of step (\d+) is", error)[0])
    assert checkpoint.load(tmp_path)["step"] == failed - 1  # not one of the steps after it


def test_a_collapse_that_stays_ends_the_run_and_keeps_its_checkpoint(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.run.trainer.collapse", lambda numbers: "collapse: for the test")
    settings = ["train.epochs=9", "train.collapse_patience=3"]
    assert _train(folder, tmp_path, *settings) == 1
    error = capsys.readouterr().err
    assert error.count("collapse: for the test") == 3
    assert "3 readings in a row show collapse" in error
    assert checkpoint.load(tmp_path)["step"] == 3
    assert main(["--resume", f"--out={tmp_path}", "train.collapse_patience=0", "train.max_steps=8"]) == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nosuch", "--data=folder:{folder}"], "recipes are simclr, moco"),
        (["--data=folder:{folder}", "train.epoch=3"], "did you mean train.epochs"),
        (["--data=folder:{folder}", "train.epochs=none"], "whole number"),
        (["--data=folder:{folder}"], "set train.batch_size=24 or less"),
        (["--data=folder:{folder}/nothing"], "is not a folder"),
        (["--data=folder:{empty}"], "no images under"),
        (["--data={folder}"], "write folder:PATH, cifar10:PATH"),
        ([], "--data is missing"),
        (["--resume"], "--resume needs --out"),
        (["--resume", "--out={empty}"], "no checkpoint"),
        (["--data=folder:{folder}", "train.batch_size=8", "--eval=folder:{folder}/class0"], "not labelled"),
        (["--data=folder:{folder}", "train.batch_size=8", "train.device=cuda:99"], "CUDA"),
        (["can", "--data=folder:{folder}", "train.batch_size=8", "backbone.name=resnet18"], "needs backbone.name=vit"),
        (["lgp", "--data=folder:{folder}", "train.batch_size=8", "data.image_size=30"], "30 is no multiple of 8"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert main([word.format(folder=folder, empty=tmp_path) for word in words]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_a_run_is_neither_overwritten_nor_bent(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _train(folder, tmp_path, "train.max_steps=1")
    assert _train(folder, tmp_path, "train.max_steps=1") == 2
    assert "holds a run already" in capsys.readouterr().err
    assert main(["--resume", f"--out={tmp_path}", "train.lr=1"]) == 2
    assert "train.lr cannot change on --resume" in capsys.readouterr().err
    assert main(["--resume", f"--out={tmp_path}", f"--data=folder:{folder}/class0"]) == 2
    assert "other images" in capsys.readouterr().err


def test_help_names_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "temperature.eta=4.0" in text
    assert "--resume" in text


def test_a_closed_pipe_stops_with_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.pretrain", f"--data=folder:{folder}", f"--out={tmp_path}", *SMALL]
    process = subprocess.Popen([*command, "train.epochs=5000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()  # as `| head -1` does
    _, error = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert error == b""
    assert checkpoint.load(tmp_path)["step"] >= 1
