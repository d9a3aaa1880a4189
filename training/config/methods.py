"""A configuration for each method: the sections that all have, and those of its own. Recipes return one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from training.config.images import AugmentConfig, DataConfig, EvalConfig, ResNetDataConfig
from training.config.network import (
    BackboneConfig,
    HeadsConfig,
    PredictorHeadsConfig,
    SharedProjectorConfig,
    ViTConfig,
)
from training.config.objective import (
    ContrastConfig,
    CorrelationConfig,
    DenoisingConfig,
    GraftConfig,
    MaskedConfig,
    MomentumConfig,
    QueueConfig,
)
from training.config.temperature import ChannelTemperatureConfig, PairTemperatureConfig, TemperatureConfig
from training.config.train import ResNetTrainConfig, TrainConfig


@dataclass(frozen=True)
class Config:
    """A whole run, as all see it who need not know the method. `recipe` names the method."""

    recipe: ClassVar[str]
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    backbone: BackboneConfig | ViTConfig = field(default_factory=BackboneConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    temperature: TemperatureConfig = field(default_factory=PairTemperatureConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)


@dataclass(frozen=True)
class AnyBackboneConfig(Config):
    """For methods that take any backbone."""

    data: ResNetDataConfig = field(default_factory=ResNetDataConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    train: ResNetTrainConfig = field(default_factory=ResNetTrainConfig)


@dataclass(frozen=True)
class MaskedViTConfig(Config):
    """For methods that hide patches from a ViT."""

    backbone: ViTConfig = field(default_factory=ViTConfig)
    masked: MaskedConfig = field(default_factory=MaskedConfig)


@dataclass(frozen=True)
class SimCLRConfig(AnyBackboneConfig):
    """SimCLR."""

    recipe = "simclr"
    loss: ContrastConfig = field(default_factory=ContrastConfig)


@dataclass(frozen=True)
class MoCoConfig(AnyBackboneConfig):
    """MoCo."""

    recipe = "moco"
    loss: ContrastConfig = field(default_factory=ContrastConfig)
    momentum: QueueConfig = field(default_factory=QueueConfig)


@dataclass(frozen=True)
class SimSiamConfig(AnyBackboneConfig):
    """SimSiam, which has no candidates and so no keys of a loss."""

    recipe = "simsiam"
    heads: SharedProjectorConfig = field(default_factory=SharedProjectorConfig)


@dataclass(frozen=True)
class BarlowTwinsConfig(AnyBackboneConfig):
    """Barlow Twins."""

    recipe = "barlow_twins"
    temperature: ChannelTemperatureConfig = field(default_factory=ChannelTemperatureConfig)
    loss: CorrelationConfig = field(default_factory=CorrelationConfig)


@dataclass(frozen=True)
class LGPConfig(MaskedViTConfig):
    """LGP."""

    recipe = "lgp"
    heads: PredictorHeadsConfig = field(default_factory=PredictorHeadsConfig)
    loss: ContrastConfig = field(default_factory=ContrastConfig)
    momentum: MomentumConfig = field(default_factory=MomentumConfig)
    masked: GraftConfig = field(default_factory=GraftConfig)


@dataclass(frozen=True)
class CANConfig(MaskedViTConfig):
    """CAN."""

    recipe = "can"
    loss: ContrastConfig = field(default_factory=ContrastConfig)
    masked: DenoisingConfig = field(default_factory=DenoisingConfig)


CONFIGS: dict[str, type[Config]] = {
    cls.recipe: cls for cls in (SimCLRConfig, MoCoConfig, SimSiamConfig, BarlowTwinsConfig, LGPConfig, CANConfig)
}
