"""Weights that a run begins from (`--init`), and those that it leaves for other programs (`backbone.safetensors`)."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from training import config as configs
from training.config import BackboneConfig, Config
from training.config.keys import C
from training.methods.base import Method
from training.model.backbones import state_dicts
from training.model.backbones.named import published
from training.model.momentum import MomentumEncoder
from training.run import checkpoint

FILE = "backbone.safetensors"
_PARTS = ("heads", "temperature")  # of a run's model, beside the backbone


@dataclass(frozen=True)
class Source:
    """A file of weights. Of a run's checkpoint, `model` holds heads and temperature too, and `config` is the run's.

    name: of the file, with its folder's where that is a run's; no more of its path goes into the new run.
    """

    name: str
    sha256: str
    backbone: Mapping[str, Tensor]
    model: Mapping[str, Tensor]
    config: Config | None


def read(path: Path) -> Source:
    """The weights in a run's folder, a checkpoint of this program or a state dict; ValueError when it is none."""
    file = path / checkpoint.FILE if path.is_dir() else path
    if not path.is_dir() and not checkpoint.is_one(path):
        tensors = state_dicts.read(path)
        return Source(path.name, _sha256(path), tensors, {}, None)
    state = checkpoint.load(path)
    model = _below("model.", state["method"])
    name = f"{file.resolve().parent.name}/{file.name}"
    return Source(name, _sha256(file), _below("backbone.", model), model, configs.from_dict(state["config"]))


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def recorded(config: C, source: Source) -> C:
    """The config of a run that begins from `source`."""
    train = dataclasses.replace(config.train, init=source.name, init_hash=source.sha256)
    return dataclasses.replace(config, train=train)


def normalised_as_published(config: C, given: set[str]) -> C:
    """The config with the mean and deviation that a library's network was made for, but for keys that were `given`."""
    found = published(config.backbone.name) if config.backbone.named else None
    if found is None:
        return config
    mean = config.data.mean if "data.mean" in given else found.mean
    std = config.data.std if "data.std" in given else found.std
    return dataclasses.replace(config, data=dataclasses.replace(config.data, mean=mean, std=std))


def check_norms(config: Config, processes: int) -> None:
    """ValueError where `train.keep_norms` has nothing to keep, or several processes, whose norms are joint on GPUs."""
    if config.train.keep_norms and not config.train.init:
        raise ValueError("train.keep_norms=true keeps what --init brings: give --init, or leave it out")
    if config.train.keep_norms and processes > 1:
        raise ValueError("train.keep_norms=true is for one process; leave it or torchrun out")


@dataclass(frozen=True)
class Begun:
    """What a method took over from a source: of the backbone by name, of heads and temperature each whole or not."""

    backbone: state_dicts.Report
    parts: Mapping[str, bool]

    def lines(self) -> list[str]:
        """For the terminal."""
        said = [
            f"{name}: {'taken over' if taken else 'fresh, its shape is another'}" for name, taken in self.parts.items()
        ]
        return [f"backbone: {self.backbone}", *said]

    def journal(self) -> dict[str, Any]:
        """Every name, for the journal."""
        return {
            "matched": list(self.backbone.matched),
            "missing": list(self.backbone.missing),
            "not_used": list(self.backbone.unexpected),
            **self.parts,
        }


def begin(method: Method, config: Config, source: Source) -> Begun:
    """Put the weights of `source` into a method, its momentum copies too.

    The backbone has to fit in full. Heads and temperature are taken over from a run whose are of the same shape, and
    stay fresh otherwise, as all do that a method adds (decoder, queue). ValueError says what does not fit.
    """
    other = _other_shape(config, source)
    if other and source.config is not None and source.config.backbone.name == config.backbone.name:
        raise ValueError(f"--init {source.name}: it is of another network. That run has {' '.join(other)}")
    try:
        backbone = state_dicts.load_matching(method.model.backbone, source.backbone)
    except ValueError as error:
        raise ValueError(f"--init {source.name}: {error}{_hint(config, source)}") from None
    parts = {}
    for name in _PARTS if source.config is not None else ():
        own, given = getattr(method.model, name), _below(f"{name}.", source.model)
        if own.state_dict():
            parts[name] = _take(own, given)
    for part in method.modules():
        if isinstance(part, MomentumEncoder):
            part.copy(method.model)
    return Begun(backbone, parts)


def _take(module: nn.Module, tensors: Mapping[str, Tensor]) -> bool:
    own = module.state_dict()
    same = own.keys() == tensors.keys() and all(own[name].shape == tensors[name].shape for name in own)
    if same:
        module.load_state_dict(dict(tensors))
    return same


def _other_shape(config: Config, source: Source) -> list[str]:
    """The keys of the source's backbone, with their values, that `config` has otherwise; [] where it is no run's.

    Some change what a network computes and not the shape of its weights: a stem's stride, the heads of attention.
    """
    if source.config is None:
        return []
    kinds = {"vit": ("width", "depth", "attention_heads", "patch")}
    old, new = source.config.backbone, config.backbone
    keys = () if old.named else kinds.get(old.name, ("stem", "width"))
    return [f"backbone.{key}={getattr(old, key)}" for key in ("name", *keys) if getattr(old, key) != getattr(new, key)]


def _hint(config: Config, source: Source) -> str:
    """What to change, where that is known."""
    own = config.backbone
    if other := _other_shape(config, source):
        return f". That run has {' '.join(other)}"
    size = None if not own.named or (found := published(own.name)) is None else found.size
    if size not in (None, config.data.image_size):
        return f". The published weights are for data.image_size={size}"
    if isinstance(own, BackboneConfig) and own.name.startswith("resnet") and (own.stem, own.width) != ("imagenet", 64):
        return f". Torchvision's {own.name} is backbone.stem=imagenet backbone.width=64"
    return ""


def leave(backbone: nn.Module, config: Config, folder: Path) -> None:
    """Write the backbone's weights by the names of its library's network, for other programs; OSError."""
    tensors = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in backbone.state_dict().items()}
    about = {"format": "pt", "backbone": config.backbone.name}
    about |= {key: ",".join(map(str, getattr(config.data, key))) for key in ("mean", "std")}
    with checkpoint.replaced(folder / FILE) as temporary:  # not by `save_file`, whose file its owner alone may read
        temporary.write_bytes(safetensors.torch.save(tensors, metadata=about))
