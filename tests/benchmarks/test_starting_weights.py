"""Published weights by timm's names compute what their source computes; training from them, at a tiny size."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch

from benchmarks.study import lite0, starting_weights
from benchmarks.study.budget import read
from benchmarks.study.starting_weights import COMMON, PLANS, Plan
from benchmarks.training.images import write_images
from training.config import override, recipes, validate

TINY = ("data.image_size=32", "train.batch_size=8", "heads.hidden=8", "heads.dim=4", "data.resident=auto")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "lite0.safetensors"
    lite0.write_weights(path)
    return path


def test_weights_are_checked_against_their_source(weights):
    tensors = safetensors.torch.load_file(weights)
    lite0.check(tensors)
    first, second = (f"blocks.6.0.bn{number}.weight" for number in (1, 2))
    with pytest.raises(ValueError, match="features of 96 px differ"):
        lite0.check(tensors | {first: tensors[second], second: tensors[first]})


def test_plans_differ_and_can_begin():
    assert len({plan.name for plan in PLANS}) == len(PLANS)
    assert len({plan.folder for plan in PLANS}) == len(PLANS)
    for plan in PLANS:
        validate(override(recipes.adaptive(recipes.recipe("simclr")), plan.words))


def test_the_tables_tell_what_was_tried_from_what_came_of_it():
    line = {"words": [*COMMON, "train.epochs=2"], "images_seen": 20_000, "seconds": 90.0, "queries": 10_000}
    line |= {"knn": 0.75, "knn_whitened": 0.5}
    text = starting_weights.render([line | {"name": "one", "trial": True}, line | {"name": "two", "trial": False}])
    tried, came = text.split("\n\n")
    assert "| one | train.epochs=2 | 20,000 | 2 | 0.750 ± 0.004 | 0.500 ± 0.005 |" in tried
    assert "| two |" in came
    assert "| one |" not in came


def test_data_and_names_that_are_missing_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        starting_weights.main(["--runs", str(tmp_path)])
    assert "--data is missing" in capsys.readouterr().err


@pytest.mark.slow
def test_networks_are_trained_measured_and_not_made_twice(weights, tmp_path, capsys, monkeypatch):
    for part in ("train", "test"):
        (tmp_path / "cifar" / part).mkdir(parents=True)
        write_images(tmp_path / "cifar" / part, 24, 32)
    plans = (
        Plan("published", True, 0, TINY),
        Plan("AMCL from published", True, 1, (*TINY, "train.lr=0.006")),
        Plan("AMCL from random", False, 1, TINY),
        Plan("trial", True, 1, (*TINY, "train.lr=1e-30"), trial=True),
    )
    monkeypatch.setattr(starting_weights, "PLANS", plans)
    monkeypatch.setattr(starting_weights, "TRAIN", 2)
    monkeypatch.setattr(starting_weights, "CHOOSE", 1)
    options = ["--data", str(tmp_path / "cifar"), "--runs", str(tmp_path / "runs")]
    options += ["--results", str(tmp_path / "results.jsonl"), "--minutes", "5"]
    assert starting_weights.main([*options, "--only", "published"]) == 0
    assert starting_weights.main(options) == 0
    lines = {line["name"]: line for line in read(tmp_path / "results.jsonl")}
    assert set(lines) == {plan.name for plan in plans}
    assert lines["published"]["step"] == 0
    assert lines["AMCL from published"]["step"] > 0
    assert torch.tensor([line["knn"] for line in lines.values()]).isfinite().all()
    assert starting_weights.main(options) == 0
    assert len(read(tmp_path / "results.jsonl")) == len(plans)
    with pytest.raises(SystemExit):
        starting_weights.main([*options, "--only", "another"])
    assert "--only is one of: published" in capsys.readouterr().err
