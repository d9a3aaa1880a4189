"""What spans several keys of a configuration."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from training.config.images import PUBLISHED_AUGMENTATIONS, AugmentConfig
from training.config.keys import C
from training.config.methods import Config, MaskedViTConfig
from training.config.network import BackboneConfig, ViTConfig


def validate(config: C) -> C:
    """Check it; returns the config. ValueError with a sentence."""
    t, d = config.temperature, config.data
    if t.kind == "adaptive" and not t.low < t.value < t.high:
        raise ValueError(f"temperature.value={t.value} must lie inside (low={t.low}, high={t.high})")
    if d.early_size and not 8 <= d.early_size <= d.image_size:
        raise ValueError(f"data.early_size={d.early_size} must lie between 8 and data.image_size={d.image_size}")
    if min(d.std) <= 0:
        raise ValueError("data.std must be positive")
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", config.train.device):
        raise ValueError(f"train.device={config.train.device!r} is none of auto, cpu, cuda, cuda:N, mps")
    if config.train.compile and config.train.accumulate > 1:
        raise ValueError("train.compile and train.accumulate do not go together; leave out one of them")
    _check_kinds(config.augment)
    if config.backbone.named:
        _check_named(config.backbone)
    if config.backbone.name == "vit":
        if d.early_size:
            raise ValueError("data.early_size is for ResNets; leave it out with backbone.name=vit")
        if config.train.compile:
            raise ValueError("train.compile=true is for ResNets; leave it out with backbone.name=vit")
        for whole, part, of in _multiples(config):
            if whole % part:
                raise ValueError(f"{of}: {whole} is no multiple of {part}")
    return config


def _check_named(backbone: BackboneConfig | ViTConfig) -> None:
    own = BackboneConfig(name=backbone.name)
    changed = [f"backbone.{k}" for k, v in dataclasses.asdict(backbone).items() if v != getattr(own, k)]
    if changed:
        raise ValueError(f"{backbone.name} has a shape of its own; leave out {', '.join(changed)}")


def _check_kinds(augment: AugmentConfig) -> None:
    if augment.kinds not in PUBLISHED_AUGMENTATIONS and not set(augment.kinds) <= set("abcde"):
        raise ValueError(
            f"augment.kinds={augment.kinds!r} holds other letters than a, b, c, d, e "
            f"and is none of {', '.join(PUBLISHED_AUGMENTATIONS)}"
        )


def _multiples(config: Config) -> Iterator[tuple[int, int, str]]:
    """(number, what must divide it, their names) of a ViT and its decoder."""
    b = config.backbone
    yield config.data.image_size, b.patch, "data.image_size and backbone.patch"
    yield b.width, b.attention_heads, "backbone.width and backbone.attention_heads"
    yield b.width, 4, "backbone.width, for its 2-D positions"
    if isinstance(config, MaskedViTConfig):
        m = config.masked
        yield m.decoder_width, m.decoder_heads, "masked.decoder_width and masked.decoder_heads"
        yield m.decoder_width, 4, "masked.decoder_width, for its 2-D positions"
