"""Recipes: functions that return a whole config. A variant calls its base and changes a few fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from training.config import Config


def simclr() -> Config:
    """SimCLR (Chen et al. 2020) for small images, after lightly's CIFAR-10 benchmark: its optimiser, no blur.

    Two deviations: crops of at least a fifth of the area instead of 8 % (MoCo v2's choice, gentler on short schedules),
    and τ = 0.1 instead of 0.5, which gave the better kNN in short CIFAR-10 runs.
    """
    return Config(recipe="simclr")


RECIPES: dict[str, Callable[[], Config]] = {"simclr": simclr}


def adaptive(config: Config) -> Config:
    """The preset of `--adaptive`: C = 3 heads and adaptive temperatures (AMCL, Wang et al. 2024)."""
    return replace(
        config,
        heads=replace(config.heads, num=3),
        temperature=replace(config.temperature, kind="adaptive"),
    )


def recipe(name: str) -> Config:
    """The config of the recipe called `name`; ValueError lists the known ones."""
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; the recipes are {', '.join(sorted(RECIPES))}")
    return RECIPES[name]()
