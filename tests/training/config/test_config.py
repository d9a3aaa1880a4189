from __future__ import annotations

import json

import pytest

from training import config as configs
from training.config import recipes

SIMCLR = recipes.recipe("simclr")


def test_every_key_survives_json() -> None:
    changed = configs.override(
        SIMCLR, ["data.mean=0.1,0.2,0.3", "train.epochs=7", "loss.positive_in_denominator=false"]
    )
    assert configs.from_dict(json.loads(json.dumps(configs.to_dict(changed)))) == changed
    assert changed.data.mean == (0.1, 0.2, 0.3)
    assert changed.loss.positive_in_denominator is False


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("train.epoch=3", "did you mean train.epochs"),
        ("colour=blue", "unknown key 'colour'"),
        ("train.epochs", "KEY=VALUE"),
        ("train.epochs=0", "at least 1"),
        ("train.epochs=1.5", "whole number"),
        ("train.lr=fast", "not a number"),
        ("train.lr=nan", "not finite"),
        ("train.lr=-1", "above 0"),
        ("train.momentum=2", "at most 1"),
        ("data.mean=1,2", "3 numbers"),
        ("loss.negatives=all", "none of posterior, topk, max"),
        ("loss.positive_in_denominator=maybe", "neither true nor false"),
        ("augment.kinds=abz", "letters than a, b, c, d, e"),
        ("heads.shared_projector=true", "predictor_hidden above 0"),
        ("train.device=tpu", "none of auto, cpu, cuda"),
        ("data.std=0,1,1", "positive"),
        ("loss.heads=all", "none of separate, joint"),
        ("data.early_size=65", "between 8 and data.image_size=64"),
        ("data.early_size=4", "between 8 and data.image_size=64"),
        ("data.early_share=2", "at most 1"),
    ],
)
def test_a_wrong_assignment_is_named(assignment: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        configs.validate(configs.override(SIMCLR, [assignment]))


@pytest.mark.parametrize(
    ("recipe", "assignments", "says"),
    [
        ("simsiam", ["loss.heads=joint"], "simsiam has none"),
        ("barlow_twins", ["loss.heads=joint"], "barlow_twins has none"),
        ("can", ["data.early_size=32"], "early_size is for ResNets"),
    ],
)
def test_what_does_not_suit_a_recipe_is_named(recipe: str, assignments: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        configs.validate(configs.override(recipes.recipe(recipe), assignments))


def test_the_start_of_an_adaptive_temperature_lies_inside_its_bounds() -> None:
    with pytest.raises(ValueError, match="inside"):
        configs.validate(configs.override(recipes.adaptive(SIMCLR), ["temperature.value=0.6"]))


def test_adaptive_is_a_preset_of_two_independent_values() -> None:
    preset = recipes.adaptive(SIMCLR)
    assert (preset.heads.num, preset.temperature.kind) == (3, "adaptive")
    back = configs.override(preset, ["heads.num=1", "temperature.kind=constant"])
    assert back == SIMCLR


def test_every_key_has_help() -> None:
    described = list(configs.describe(SIMCLR))
    assert {key for key, _, _ in described} == set(configs.flatten(SIMCLR))
    assert all(text for _, _, text in described)


def test_an_unknown_recipe_lists_the_known() -> None:
    with pytest.raises(ValueError, match="recipes are simclr"):
        recipes.recipe("simsiamese")
