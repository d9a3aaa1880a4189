"""One page a framework: how two views become a loss."""

from __future__ import annotations

from training.config import Config
from training.methods.barlow_twins import BarlowTwins
from training.methods.base import Method
from training.methods.can import CAN
from training.methods.lgp import LGP
from training.methods.moco import MoCo
from training.methods.simclr import SimCLR
from training.methods.simsiam import SimSiam

METHODS: dict[str, type[Method]] = {
    "simclr": SimCLR,
    "moco": MoCo,
    "simsiam": SimSiam,
    "barlow_twins": BarlowTwins,
    "lgp": LGP,
    "can": CAN,
}


def build(config: Config) -> Method:
    """The method of `config.recipe`, freshly initialised from torch's generator. ValueError where parts do not fit."""
    return METHODS[config.recipe](config)
