"""What is written is read again, also what was written when one form held the keys of all methods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from amcl_serve.model.bundle import CARD_FILE, MODELS_DIR
from training import config as configs
from training.config import recipes, serialization

# A line for each recipe, adaptive, as written in schema 1.
OLD = [json.loads(line) for line in Path(__file__).with_name("schema1.jsonl").read_text().splitlines()]
COMMON = ["data.spec=folder:photos", "train.seed=3"]
CHANGED = {
    "simclr": ["loss.heads=joint", "data.early_size=32", "backbone.name=resnet34"],
    "moco": ["momentum.queue=4000", "temperature.of=views"],
    "simsiam": ["heads.predictor_hidden=256"],
    "barlow_twins": ["loss.redundancy=0.004", "temperature.beta=0.5"],
    "lgp": ["masked.epochs=7", "masked.decoder_depth=1"],
    "can": ["masked.noise_max=0.04", "backbone.patch=4"],
}


def _expected(name: str) -> configs.Config:
    return configs.override(recipes.adaptive(recipes.recipe(name)), [*COMMON, *CHANGED[name]])


@pytest.mark.parametrize("name", list(recipes.RECIPES))
def test_every_key_survives_json(name: str, tmp_path: Path) -> None:
    config = _expected(name)
    serialization.write(config, tmp_path)
    assert serialization.read(tmp_path) == config
    raw = json.loads((tmp_path / serialization.FILE).read_text())
    keys = [f"{section}.{key}" for section, table in raw.items() if isinstance(table, dict) for key in table]
    assert keys == list(configs.flatten(config))


@pytest.mark.parametrize("old", OLD, ids=[old["recipe"] for old in OLD])
def test_the_one_form_of_all_methods_is_still_read(old: dict[str, Any]) -> None:
    assert {"masked", "momentum"} < set(old)
    assert "shared_projector" in old["heads"]
    then = configs.override(_expected(old["recipe"]), ["data.workers=2", "data.reduce=never"])
    assert configs.from_dict(old) == then


def test_keys_that_are_younger_than_what_was_written_have_what_they_stood_for() -> None:
    """The defaults, but for photographs, which were read whole."""
    old = {"recipe": "simclr", "heads": {"num": 3}, "temperature": {"kind": "adaptive"}}
    then = configs.override(recipes.adaptive(recipes.recipe("simclr")), ["data.reduce=never"])
    assert configs.from_dict(old) == then


def test_the_config_of_the_released_bundle_is_read() -> None:
    (path,) = MODELS_DIR.glob(f"*/{CARD_FILE}")
    card = json.loads(path.read_text())
    config = configs.validate(configs.from_dict(card["config"]))
    assert (config.recipe, config.heads.num, config.heads.dim) == (card["recipe"], card["num_heads"], card["head_dim"])


@pytest.mark.parametrize(
    ("recipe", "section", "change"),
    [
        ("simclr", "heads", {"predictor_hidden": 64}),
        ("simsiam", "heads", {"shared_projector": False}),
        ("moco", "heads", {"shared_projector": True}),
        ("can", "backbone", {"name": "resnet18"}),
    ],
)
def test_an_old_network_that_a_method_can_no_longer_have_is_refused(
    recipe: str, section: str, change: dict[str, Any]
) -> None:
    (old,) = (old for old in OLD if old["recipe"] == recipe)
    ((key, value),) = change.items()
    with pytest.raises(ValueError, match=rf"{recipe} was made with {section}\.{key}={value}"):
        configs.from_dict(old | {section: old[section] | change})


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({}, "unknown recipe None; the recipes are simclr"),
        ({"recipe": "simclr", "schema": 3}, "schema 3; this program reads 1 and 2"),
        ({"recipe": "simclr", "heads": 3}, "heads must be a table"),
        ({"recipe": "simclr", "heads": {"zzz": 3}}, "unknown key 'heads.zzz'"),
        ({"recipe": "simclr", "schema": 2, "momentum": {"queue": 3}}, "momentum.queue is a key of moco"),
        ({"recipe": "simclr", "schema": 2, "heads": {"shared_projector": False}}, "unknown key"),
    ],
)
def test_what_is_no_config_is_refused(raw: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        configs.from_dict(raw)
