"""A network of torchvision or timm with weights from a file as a source; it has features and no heads."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import torch
from torch import nn

from amcl_serve.model.bundle import Interpolation, file_entry
from export.errors import UsageError
from export.graphs.traced import ServedEncoder, write_encoder
from export.networks import Network, torch_network
from export.sources import About
from export.sources.preprocessing import Preprocessing, Wishes, preprocessing
from export.whiten import Whitening
from training.model.backbones.named import Named, named
from training.model.backbones.state_dicts import load_matching, read


class TorchSource:
    """`network` of that `name`, which takes images as `how` says."""

    def __init__(self, name: str, network: nn.Module, how: Preprocessing, about: About) -> None:
        self._name, self._how = name, how
        self._served = ServedEncoder(network, how.mean, how.std, how.spec.size)
        self.spec, self.about = how.spec, about

    @classmethod
    def open(cls, name: str, weights: Path, wishes: Wishes) -> TorchSource:
        """The network `torchvision:NAME` or `timm:NAME` with the state dict in `weights`.

        UsageError where there is no such network, or the file is none of its weights.
        """
        try:
            tensors = read(weights)
        except ValueError as error:
            raise UsageError(f"--weights: {error}") from None
        found = _named(name, wishes.size)
        try:
            report = load_matching(found.network, tensors)
        except ValueError as error:
            raise UsageError(f"--weights {weights} for {name}: {error}") from None
        print(f"{name}: {report}")
        how = preprocessing(wishes, _known(found), name)
        config = {"torch": name, "weights": weights.name, "sha256": file_entry(weights).sha256, **how.config()}
        return cls(name, found.network, how, About("not stated", name, config, name, found.feature_dim))

    @property
    def reference(self) -> tuple[Network, str]:
        """PyTorch."""
        return torch_network(self._served), "PyTorch"

    def whiten(self, whitening: Whitening) -> None:
        """Give the encoder a last layer."""
        self._served.whiten(whitening)

    def write(self, path: Path) -> None:
        """Write the features; UsageError where the network cannot be traced."""
        try:
            write_encoder(self._served, path)
        except ValueError as error:
            raise UsageError(f"{self._name}: {error}") from None

    def write_temperature(self, path: Path) -> None:
        """Nothing: there are no heads."""

    def untrained(self) -> TorchSource:
        """The network with weights from seed 0."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = _named(self._name, self.spec.size).network
        return TorchSource(self._name, network, self._how, self.about)


def _named(name: str, size: int | None) -> Named:
    try:
        return named(name, size)
    except ValueError as error:
        raise UsageError(f"--torch: {error}") from None


def _known(found: Named) -> Wishes:
    """What the network's library says of its published weights."""
    p = found.preprocessing
    if p is None:
        return Wishes()
    known = {name: name for name in get_args(Interpolation)}
    return Wishes(p.size, p.mean, p.std, known.get(p.interpolation), min(p.crop, 1.0))
