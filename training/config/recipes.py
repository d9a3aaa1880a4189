"""Recipes: functions that return a whole config. A variant calls its base and changes a few fields.

The convolutional four follow lightly's CIFAR-10 benchmark (SGD 0.9, weight decay 5e-4, lr 0.06 · batch / 128, cosine,
no blur), which tunes all four for one network at one cost. One deviation is common: crops of at least a fifth of the
area instead of 8 % (MoCo v2's choice, gentler on short schedules). LGP and CAN train a ViT-Tiny (192 wide, 12 blocks).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from training.config.keys import C
from training.config.methods import (
    BarlowTwinsConfig,
    CANConfig,
    Config,
    LGPConfig,
    MoCoConfig,
    SimCLRConfig,
    SimSiamConfig,
)
from training.config.network import HeadsConfig, PredictorHeadsConfig, SharedProjectorConfig, ViTConfig
from training.config.objective import DenoisingConfig, GraftConfig, MomentumConfig
from training.config.temperature import ChannelTemperatureConfig, PairTemperatureConfig
from training.config.train import TrainConfig


def simclr() -> SimCLRConfig:
    """SimCLR (Chen et al. 2020); τ = 0.1 instead of lightly's 0.5, which gave the better kNN in short CIFAR-10 runs."""
    return SimCLRConfig()


def moco() -> MoCoConfig:
    """MoCo v2 (Chen et al. 2020): τ 0.1, a queue of 4096, momentum 0.99, symmetric."""
    return MoCoConfig()


def simsiam() -> SimSiamConfig:
    """SimSiam (Chen & He 2021): projector 2048-2048-2048, predictor 2048-512-2048; no temperature, that is τ = 1.

    The projector has three layers, as the paper's on ImageNet (lightly's has two); the rate is scaled like the others'.
    An adaptive τ is at rest at (β − s/2)/(βη), which these β and η put between 0.9 and 1.3. With β = η = 1 it goes from
    0.5 to 1.5: pairs that are alike already weigh most then, and in short CIFAR-10 runs all images became alike.
    """
    return SimSiamConfig(
        heads=SharedProjectorConfig(layers=3, hidden=2048, dim=2048, last_norm=True, predictor_hidden=512),
        temperature=PairTemperatureConfig(value=1.0, low=0.2, high=5.0, beta=3.0, eta=0.9),
    )


def barlow_twins() -> BarlowTwinsConfig:
    """Barlow Twins (Zbontar et al. 2021): projector 2048-2048-2048, λ 5e-3, and no temperature, that is τ = 1.

    The projector has three layers, as the paper's (lightly's has two). The loss sums over channels, so gradients are
    long and `train.clip_norm` cuts nearly every one: steps have a length of their own, unlike the published ones.
    """
    return BarlowTwinsConfig(
        heads=HeadsConfig(layers=3, hidden=2048, dim=2048),
        temperature=ChannelTemperatureConfig(value=1.0, low=0.5, high=2.0, eta=1.0),
    )


# A ViT-Tiny, trained by AdamW as MAE and MoCo v3 do. The rate, 1e-3 at batch 512, is ours: theirs are for larger ViTs.
# The weight decay is MAE's; MoCo v3 and LGP have 0.1, and 40 epochs of warm-up.
_VIT_TINY = ViTConfig(width=192, depth=12, attention_heads=3, patch=8)
_ADAMW = TrainConfig(optimiser="adamw", lr=2.5e-4, weight_decay=0.05, warmup_epochs=10.0)


def lgp() -> LGPConfig:
    """LGP (Jiang et al. 2023): MAE with 75 % hidden, then InfoNCE as in MoCo v3 (τ 0.2, momentum 0.99 to 1)."""
    return LGPConfig(
        backbone=_VIT_TINY,
        heads=PredictorHeadsConfig(layers=3, hidden=1024, dim=256, last_norm=True, predictor_hidden=1024),
        temperature=PairTemperatureConfig(value=0.2),
        momentum=MomentumConfig(start=0.99, end=1.0),
        masked=GraftConfig(ratio=0.75),
        train=_ADAMW,
    )


def can() -> CANConfig:
    """CAN (Mishra et al. 2022): half of the patches hidden, weights 0.03, 0.67, 0.30, noise up to 0.05."""
    return CANConfig(backbone=_VIT_TINY, masked=DenoisingConfig(ratio=0.5), train=_ADAMW)


RECIPES: dict[str, Callable[[], Config]] = {f.__name__: f for f in (simclr, moco, simsiam, barlow_twins, lgp, can)}


def adaptive(config: C) -> C:
    """The preset of `--adaptive`: C = 3 heads and adaptive temperatures (AMCL, Wang et al. 2024)."""
    return replace(
        config,
        heads=replace(config.heads, num=3),
        temperature=replace(config.temperature, kind="adaptive"),
    )


def recipe(name: str) -> Config:
    """The config of the recipe called `name`; ValueError lists the known ones."""
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; the recipes are {', '.join(RECIPES)}")
    return RECIPES[name]()
