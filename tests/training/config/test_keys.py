"""Keys of a configuration: set, refused with a sentence, listed by recipe."""

from __future__ import annotations

import pytest

from training import config as configs
from training.config import recipes

SIMCLR = recipes.recipe("simclr")


def test_values_are_read_as_their_kind() -> None:
    changed = configs.override(SIMCLR, ["data.mean=0.1,0.2,0.3", "train.epochs=7", "train.compile=true"])
    assert changed.data.mean == (0.1, 0.2, 0.3)
    assert changed.train.epochs == 7
    assert changed.train.compile is True


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("train.epoch=3", "did you mean train.epochs"),
        ("colour=blue", r"unknown key 'colour'; the keys of simclr begin with data\., augment\., "),
        ("heads.zzz=1", r"unknown key 'heads.zzz'; simclr has heads.num, heads.layers, "),
        ("momentum.queue=3", "momentum.queue is a key of moco, not of simclr"),
        ("train.epochs", "KEY=VALUE"),
        ("train.epochs=0", "at least 1"),
        ("train.epochs=1.5", "whole number"),
        ("train.lr=fast", "not a number"),
        ("train.lr=nan", "not finite"),
        ("train.lr=-1", "above 0"),
        ("train.momentum=2", "at most 1"),
        ("data.mean=1,2", "3 numbers"),
        ("data.early_share=2", "at most 1"),
        ("loss.negatives=all", "none of posterior, topk, max"),
        ("loss.heads=all", "none of separate, joint"),
        ("loss.positive_in_denominator=maybe", "neither true nor false"),
        ("temperature.of=channels", "none of pairs, views, similarity"),
    ],
)
def test_a_wrong_assignment_is_named(assignment: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        configs.override(SIMCLR, [assignment])


@pytest.mark.parametrize(
    ("recipe", "key"),
    [
        ("simclr", "heads.predictor_hidden=8"),
        ("simclr", "masked.ratio=0.5"),
        ("moco", "loss.redundancy=1"),
        ("simsiam", "loss.heads=joint"),
        ("barlow_twins", "loss.heads=joint"),
        ("barlow_twins", "temperature.of=pairs"),
        ("lgp", "momentum.queue=8"),
        ("lgp", "masked.noise=1"),
        ("can", "momentum.start=1"),
        ("can", "masked.epochs=1"),
        ("can", "data.early_size=32"),
        ("can", "train.compile=true"),
        ("can", "backbone.name=resnet18"),
    ],
)
def test_a_key_of_another_method_is_no_key(recipe: str, key: str) -> None:
    with pytest.raises(ValueError, match=f"{key.partition('=')[0]} is a key of .*, not of {recipe}; leave it out"):
        configs.override(recipes.recipe(recipe), [key])


@pytest.mark.parametrize("name", list(recipes.RECIPES))
def test_every_key_has_help(name: str) -> None:
    config = recipes.recipe(name)
    described = list(configs.describe(config))
    assert [key for key, _, _ in described] == list(configs.flatten(config))
    assert all(text for _, _, text in described)
    assert configs.override(config, [f"{key}={value}" for key, value, _ in described]) == config


def test_auto_is_a_word_for_some_numbers() -> None:
    config = configs.override(recipes.recipe("simclr"), ["train.epochs=auto", "data.workers=3"])
    assert configs.from_dict(configs.to_dict(config)) == config
    shown = {key: value for key, value, _ in configs.describe(config)}
    assert (shown["train.epochs"], shown["data.workers"]) == ("auto", "3")
    assert configs.override(config, ["data.workers=auto"]).data.workers == recipes.recipe("simclr").data.workers
    for word in ("train.epochs=0", "data.workers=-1", "train.epochs=automatic", "train.batch_size=auto"):
        with pytest.raises(ValueError, match=word.partition("=")[0]):
            configs.override(config, [word])
