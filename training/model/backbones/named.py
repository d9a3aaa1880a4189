"""Networks of torchvision and timm by name, without their classifier: `torchvision:convnext_tiny`, `timm:vit_small_…`.

Built with random weights; nothing is ever downloaded. Shapes: x float32 [N, 3, S, S], normalised -> features [N, D].
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn
from torchvision import models

SOURCES = ("torchvision", "timm")
M = TypeVar("M", bound=nn.Module)
Colour = tuple[float, float, float]

# What some of torchvision's builders want to be told. The two old ones then take images normalised as all others.
_OLD = {"aux_logits": False, "transform_input": True, "init_weights": True}
_OPTIONS: dict[str, dict[str, Any]] = {"googlenet": _OLD, "inception_v3": _OLD}


@dataclass(frozen=True)
class Preprocessing:
    """How the published weights of a network want images: S pixels a side, cut from the middle `crop` of the image."""

    mean: Colour
    std: Colour
    size: int
    interpolation: str  # bilinear, bicubic, …
    crop: float  # S over the shortest side that the image is resized to


@dataclass(frozen=True)
class Named:
    """A network without its classifier.

    feature_dim: D. preprocessing: of its published weights; None where none are known.
    """

    network: nn.Module
    feature_dim: int
    preprocessing: Preprocessing | None


def named(name: str, image_size: int | None = None) -> Named:
    """The network `torchvision:NAME` or `timm:NAME` for images of `image_size` pixels a side (its own, or 224).

    Its weights are random, from torch's generator. What it draws at random in training, dropout and stochastic depth,
    is turned off: the two views of an image differ by what was done to the image. ValueError for an unknown name, a
    size that does not fit and a network that does not give one vector for an image.
    """
    source, own = _split(name)
    preprocessing = published(name)
    size = image_size or (preprocessing.size if preprocessing else 224)
    network = _torchvision(own, size) if source == "torchvision" else _timm(own, size)
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        elif type(part).__name__ == "StochasticDepth":  # torchvision's
            part.p = 0.0  # type: ignore[assignment]
        elif type(part).__name__ == "DropPath":  # timm's
            part.drop_prob = 0.0  # type: ignore[assignment]
    try:
        return Named(network, feature_dim(network, size), preprocessing)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


@torch.no_grad()
def feature_dim(network: nn.Module, size: int) -> int:
    """D, from what the network makes of two grey images of `size` pixels a side.

    ValueError, a sentence without its subject, when it does not take them or does not give one vector each.
    """
    training = network.training
    weight = next(network.parameters())
    try:
        features = network.eval()(torch.zeros(2, 3, size, size, dtype=weight.dtype, device=weight.device))
    except (ValueError, AssertionError, RuntimeError, TypeError, IndexError) as error:
        raise ValueError(f"does not take images of {size} pixels a side: {_line(error)}") from None
    finally:
        network.train(training)
    if not isinstance(features, torch.Tensor) or features.dim() != 2 or len(features) != 2:
        found = list(features.shape) if isinstance(features, torch.Tensor) else f"a {type(features).__name__}"
        raise ValueError(f"gives {found} for two images, not one vector of features for each [2, D]")
    return features.shape[1]


def check_size(network: nn.Module, size: int, subject: str) -> None:
    """ValueError, a sentence on `subject`, when the network does not take images of `size` pixels a side."""
    try:
        feature_dim(network, size)
    except ValueError as error:
        raise ValueError(f"{subject} {error}") from None


def with_joint_norms(module: M, name: str) -> M:
    """`module`, which has the backbone `name`, with batch norms that see the images of all processes; they need CUDA.

    Some of timm's batch norms hold their activation, which torch's own conversion would lose.
    """
    convert: Callable[[M], M] = nn.SyncBatchNorm.convert_sync_batchnorm
    if name.startswith("timm:"):
        from timm.layers.norm_act import convert_sync_batchnorm as convert
    return convert(module)


def _split(name: str) -> tuple[str, str]:
    source, _, own = name.partition(":")
    if source not in SOURCES or not own:
        raise ValueError(f"{name!r} names no network; write torchvision:NAME or timm:NAME")
    return source, own


def published(name: str) -> Preprocessing | None:
    """How the published weights of `torchvision:NAME` or `timm:NAME` want images; None where there are none.

    Of several the library's default, or in timm those that a tag names (`timm:resnet50.a1_in1k`). ValueError for an
    unknown name.
    """
    source, own = _split(name)
    if source == "timm":
        cfg = _timm_cfg(own)
        if cfg is None:
            return None
        return Preprocessing(tuple(cfg.mean), tuple(cfg.std), cfg.input_size[-1], cfg.interpolation, cfg.crop_pct)
    known = models.list_models(module=models)
    if own not in known:
        raise ValueError(_unknown("torchvision", own, known))
    weights = getattr(models.get_model_weights(own), "DEFAULT", None)
    if weights is None:
        return None
    p = weights.transforms()
    (size,), (resized,) = p.crop_size, p.resize_size
    return Preprocessing(tuple(p.mean), tuple(p.std), size, p.interpolation.value, size / resized)


def _torchvision(name: str, size: int) -> nn.Module:
    options = dict(_OPTIONS.get(name, {}))
    if name.startswith("vit_"):
        options["image_size"] = size
    elif name.startswith("maxvit"):
        options["input_size"] = (size, size)
    try:
        network: nn.Module = models.get_model(name, weights=None, **options)
    except (ValueError, AssertionError, RuntimeError) as error:
        raise ValueError(f"torchvision:{name} is not built for {size} pixels a side: {_line(error)}") from None
    _take_classifier_off(network)
    return network


def _take_classifier_off(network: nn.Module) -> None:
    """Leave out the layer that gives a network's 1000 logits, which is its last one."""
    layers = [name for name, part in network.named_modules() if isinstance(part, (nn.Linear, nn.Conv2d))]
    parent, _, last = layers[-1].rpartition(".")
    assert getattr(network.get_submodule(layers[-1]), "out_features", 1000) == 1000, layers[-1]
    setattr(network.get_submodule(parent), last, nn.Identity())


def _timm(name: str, size: int) -> nn.Module:
    import timm

    cfg = _timm_cfg(name)
    options: dict[str, Any] = {"img_size": size} if cfg is not None and cfg.fixed_input_size else {}
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, **options)
    except (ValueError, AssertionError, RuntimeError, TypeError) as error:
        raise ValueError(f"timm:{name} is not built for {size} pixels a side: {_line(error)}") from None


def _timm_cfg(name: str) -> Any:
    """What timm knows of the published weights of a network, or None. ValueError for a name that it does not have."""
    try:
        import timm
    except ImportError:
        raise ValueError(f"timm:{name} needs timm: pip install 'amcl-serve[timm]'") from None
    if not timm.is_model(name):  # also names with which timm would look into the Hugging Face Hub
        raise ValueError(_unknown("timm", name, timm.list_models()))
    try:
        return timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # an unknown tag behind the name
        raise ValueError(f"timm:{name}: {_line(error)}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _unknown(source: str, name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    return f"{source}:{name} is no network of the {source} installed here{hint}"
