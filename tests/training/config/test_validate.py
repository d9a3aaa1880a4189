from __future__ import annotations

import pytest

from training import config as configs
from training.config import recipes


@pytest.mark.parametrize(
    ("recipe", "assignments", "says"),
    [
        ("simclr", ["augment.kinds=abz"], "letters than a, b, c, d, e"),
        ("simclr", ["train.device=tpu"], "none of auto, cpu, cuda"),
        ("simclr", ["data.std=0,1,1"], "positive"),
        ("simclr", ["data.early_size=65"], "between 8 and data.image_size=64"),
        ("simclr", ["data.early_size=4"], "between 8 and data.image_size=64"),
        ("simclr", ["temperature.kind=adaptive", "temperature.value=0.6"], "inside"),
        ("simclr", ["backbone.name=vit", "data.early_size=32"], "early_size is for ResNets"),
        ("simclr", ["backbone.name=vit", "train.compile=true"], "compile=true is for ResNets"),
        ("simclr", ["backbone.name=vit", "backbone.width=20"], "20 is no multiple of 3"),
        ("simclr", ["train.compile=true", "train.accumulate=2"], "do not go together"),
        ("simclr", ["backbone.name=timm:resnet18", "backbone.stem=cifar"], "shape of its own; leave out backbone.stem"),
        ("can", ["backbone.patch=7"], "64 is no multiple of 7"),
        ("can", ["masked.decoder_heads=5"], "masked.decoder_width and masked.decoder_heads: 128 is no multiple of 5"),
    ],
)
def test_what_does_not_fit_together_is_named(recipe: str, assignments: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        configs.validate(configs.override(recipes.recipe(recipe), assignments))
