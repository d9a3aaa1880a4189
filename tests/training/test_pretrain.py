"""The command as a user runs it: what it leaves, and one line where the words are wrong."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from tests.training.command import OF, losses, train
from training.config import describe, recipes
from training.pretrain import main
from training.run import checkpoint, journal


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU wants a C++ compiler")
def test_a_compiled_network_takes_the_same_steps(folder: Path, tmp_path: Path) -> None:
    words = ["moco", f"--eval=folder:{folder}", "momentum.queue=40", "train.precision=fp32", "train.max_steps=4"]
    assert train(folder, tmp_path / "plain", *words) == 0
    assert train(folder, tmp_path / "compiled", *words, "train.compile=true") == 0
    plain, compiled = losses(tmp_path / "plain"), losses(tmp_path / "compiled")
    assert plain != compiled  # it is other code
    assert compiled == pytest.approx(plain, rel=1e-4)


def test_a_run_leaves_what_it_should(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(folder, tmp_path, "--adaptive", f"--eval=folder:{folder}", "train.epochs=2") == 0
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "metrics.jsonl", "checkpoint.pt", "tensorboard"}
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["temperature"]["kind"] == "adaptive"
    assert config["train"]["device"] in ("cpu", "cuda")
    lines = journal.read(tmp_path)
    assert [line["epoch"] for line in lines if "knn" in line] == [1, 2]
    assert {"tau_positive", "tau_negative_head2", "effective_rank"} <= set(
        next(line for line in lines if "loss" in line)
    )
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
    assert train(folder, tmp_path, *preset, f"loss.negatives={negatives}", "loss.top_k=4", "train.max_steps=2") == 0


@pytest.mark.parametrize("name", ["simclr", "moco", "lgp", "can"])
@pytest.mark.parametrize("of", ["constant", "pairs", "views", "similarity"])
def test_heads_that_judge_together_train(folder: Path, tmp_path: Path, name: str, of: str) -> None:
    words = ["temperature.kind=constant"] if of == "constant" else [f"temperature.of={of}"]
    words += ["loss.heads=joint", "temperature.value=0.3", "temperature.low=0.09", "temperature.high=1.5"]
    assert train(folder, tmp_path, name, "--adaptive", *OF[name], *words, "train.epochs=1") == 0
    assert checkpoint.load_model(tmp_path)[1].loss.heads == "joint"


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
        (["--data=folder:{folder}", "train.batch_size=8", "--eval=folder:{empty}"], "no images under"),
        (["--data=folder:{folder}", "train.batch_size=8", "train.device=cuda:99"], "CUDA"),
        (["can", "--data=folder:{folder}", "backbone.name=resnet18"], "not of can; leave it out"),
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


@pytest.mark.parametrize("name", list(recipes.RECIPES))
def test_help_lists_the_keys_of_the_recipe(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--adaptive", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    config = recipes.adaptive(recipes.recipe(name))
    listed = re.findall(r"^  ([a-z]+\.[a-z_]+)=(\S*)", text, re.MULTILINE)
    assert listed == [(key, value) for key, value, _ in describe(config)]
    assert "--resume" in text
