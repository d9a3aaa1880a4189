"""The typed configuration of a run: what it holds, how it is read from KEY=VALUE and JSON, and the recipes."""

from training.config.images import PUBLISHED_AUGMENTATIONS, AugmentConfig, DataConfig, EvalConfig
from training.config.keys import describe, flatten, override
from training.config.methods import Config
from training.config.network import BackboneConfig, HeadsConfig, ViTConfig
from training.config.objective import ContrastConfig, MaskedConfig, MomentumConfig
from training.config.serialization import from_dict, to_dict
from training.config.temperature import PairTemperatureConfig, TemperatureConfig
from training.config.train import TrainConfig
from training.config.validate import validate

__all__ = [
    "PUBLISHED_AUGMENTATIONS",
    "AugmentConfig",
    "BackboneConfig",
    "Config",
    "ContrastConfig",
    "DataConfig",
    "EvalConfig",
    "HeadsConfig",
    "MaskedConfig",
    "MomentumConfig",
    "PairTemperatureConfig",
    "TemperatureConfig",
    "TrainConfig",
    "ViTConfig",
    "describe",
    "flatten",
    "from_dict",
    "override",
    "to_dict",
    "validate",
]
