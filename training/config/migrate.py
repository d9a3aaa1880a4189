"""Configurations that earlier versions wrote: what a key that they lack stood for, and the keys of schema 1.

Schema 1 was one form, which held the keys of every method, whatever a run's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from training.config.keys import flatten
from training.config.methods import CONFIGS

# What a method that has no such key does; the rest of what it has no key for was never read.
_FIXED: dict[str, Any] = {
    "heads.predictor_hidden": 0,
    "heads.shared_projector": False,
    "backbone.name": "vit",
    "data.early_size": 0,
    "train.compile": False,
}
_GONE = {"heads.shared_projector"}  # no method has it any more
_BEFORE = {"data.reduce": "never"}  # what was done before there was such a key, where that is not the default


def complete(pairs: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The keys and values of a run, with those that were not yet there."""
    return list((_BEFORE | dict(pairs)).items())


def lift(recipe: str, pairs: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The keys of schema 1 that `recipe` has, with their values; those of other methods are left out.

    ValueError where such a key had a value that the method no longer offers. Keys that no method has stay, for the
    reader to refuse.
    """
    own = flatten(CONFIGS[recipe]())
    foreign = {key for cls in CONFIGS.values() for key in flatten(cls())} - set(own) | _GONE
    fixed = _FIXED | {"heads.shared_projector": recipe == "simsiam"}
    kept = []
    old = dict(pairs)
    if "train.collapse_patience" in old:  # it counted readings
        old["train.collapse_patience"] *= old.get("train.log_every", own["train.log_every"])
    for key, value in old.items():
        if key not in foreign:
            kept.append((key, value))
        elif value != fixed.get(key, value):
            raise ValueError(f"config: {recipe} was made with {key}={value}, which it can no longer have")
    return kept
