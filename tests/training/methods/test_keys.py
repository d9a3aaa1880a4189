"""A recipe lists the keys that its method reads, and no others."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.training.words import had_by
from training import config as configs
from training import methods
from training.config import recipes

SMALL = ["data.image_size=16", "heads.hidden=16", "heads.dim=8", "momentum.queue=32", "backbone.width=8"]
SMALL += ["masked.decoder_width=8", "masked.decoder_depth=1"]
VIT = ["backbone.patch=4", "backbone.attention_heads=2", "backbone.depth=3"]
SECTIONS = ("backbone", "heads", "temperature", "loss", "momentum", "masked")  # the others are the loop's


@pytest.mark.parametrize("name", list(recipes.RECIPES))
def test_every_key_of_a_recipe_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    base, read = recipes.recipe(name), set()
    variants = [[], ["temperature.kind=adaptive"], ["backbone.name=vit", "data.early_size=0"]]
    found = []
    for more in variants:
        small = [*SMALL, *(VIT if base.backbone.name == "vit" or "backbone.name=vit" in more else [])]
        found.append(configs.override(base, had_by(base, [*small, *more])))
    for section in SECTIONS:
        if hasattr(base, section):

            def look(self: object, key: str, section: str = section) -> Any:
                read.add(f"{section}.{key}")
                return object.__getattribute__(self, key)

            monkeypatch.setattr(type(getattr(base, section)), "__getattribute__", look)
    for config in found:
        method = methods.build(config)
        for stage in range(len(method.stages())):
            method.enter(stage)
            method.rate("model.backbone.blocks.0.qkv.weight")
            method(torch.randn(8, 3, 16, 16), methods.base.Step(0, 0.0, 0))
    listed = {key for key in configs.flatten(base) if key.partition(".")[0] in SECTIONS}
    assert listed <= read
