"""Networks of torchvision and timm by name, without their classifier: `torchvision:convnext_tiny`, `timm:vit_small_…`.

Built with random weights; nothing is ever downloaded. Shapes: x float32 [N, 3, S, S], normalised -> features [N, D].
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torchvision import models

SOURCES = ("torchvision", "timm")
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

    feature_dim: D. preprocessing: of its published weights; None where none are known. classifier: the names, in its
    library, of the layers that are left out. fixed_size: whether it takes images of the one size only that it was
    built for.
    """

    network: nn.Module
    feature_dim: int
    preprocessing: Preprocessing | None
    classifier: tuple[str, ...]
    fixed_size: bool


def named(name: str, image_size: int | None = None) -> Named:
    """The network `torchvision:NAME` or `timm:NAME` for images of `image_size` pixels a side (its own, or 224).

    Its weights are random, from torch's generator. What it draws at random in training, dropout and stochastic depth,
    is turned off: the two views of an image differ by what was done to the image. ValueError for an unknown name, a
    size that does not fit and a network that does not give one vector for an image.
    """
    source, _, own = name.partition(":")
    if source not in SOURCES or not own:
        raise ValueError(f"{name!r} names no network; write torchvision:NAME or timm:NAME")
    found = _torchvision(own, image_size) if source == "torchvision" else _timm(own, image_size)
    network, preprocessing, classifier, fixed_size, size = found
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        elif type(part).__name__ == "StochasticDepth":  # torchvision's
            part.p = 0.0  # type: ignore[assignment]
        elif type(part).__name__ == "DropPath":  # timm's
            part.drop_prob = 0.0  # type: ignore[assignment]
    return Named(network, _feature_dim(network, name, size), preprocessing, classifier, fixed_size)


_Found = tuple[nn.Module, Preprocessing | None, tuple[str, ...], bool, int]


def _torchvision(name: str, image_size: int | None) -> _Found:
    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(_unknown("torchvision", name, known))
    weights = getattr(models.get_model_weights(name), "DEFAULT", None)
    preprocessing = None
    if weights is not None:
        p = weights.transforms()
        (size,), (resized,) = p.crop_size, p.resize_size
        preprocessing = Preprocessing(tuple(p.mean), tuple(p.std), size, p.interpolation.value, size / resized)
    side = image_size or (preprocessing.size if preprocessing else 224)
    options = dict(_OPTIONS.get(name, {}))
    if name.startswith("vit_"):
        options["image_size"] = side
    elif name.startswith("maxvit"):
        options["input_size"] = (side, side)
    try:
        network = models.get_model(name, weights=None, **options)
    except (ValueError, AssertionError, RuntimeError) as error:
        raise ValueError(_unfit(f"torchvision:{name}", side, error)) from None
    fixed = "image_size" in options or "input_size" in options
    return network, preprocessing, (_take_classifier_off(network),), fixed, side


def _take_classifier_off(network: nn.Module) -> str:
    """Replace the layer that gives a network's 1000 logits, its last one, and return its name."""
    layers = [name for name, part in network.named_modules() if isinstance(part, (nn.Linear, nn.Conv2d))]
    parent, _, last = layers[-1].rpartition(".")
    setattr(network.get_submodule(parent), last, nn.Identity())
    return layers[-1]


def _timm(name: str, image_size: int | None) -> _Found:
    try:
        import timm
    except ImportError:
        raise ValueError(f"timm:{name} needs timm: pip install 'amcl-serve[timm]'") from None
    if not timm.is_model(name):  # also names with which timm would look into the Hugging Face Hub
        raise ValueError(_unknown("timm", name, timm.list_models()))
    try:
        published = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # an unknown tag behind the name
        raise ValueError(f"timm:{name}: {error}") from None
    preprocessing, fixed, classifier = None, False, ()
    if published is not None:
        preprocessing = Preprocessing(
            tuple(published.mean),  # type: ignore[arg-type]
            tuple(published.std),  # type: ignore[arg-type]
            published.input_size[-1],
            published.interpolation,
            published.crop_pct,
        )
        fixed, layer = published.fixed_input_size, published.classifier
        classifier = (layer,) if isinstance(layer, str) else tuple(layer or ())
    side = image_size or (preprocessing.size if preprocessing else 224)
    options = {"img_size": side} if fixed else {}
    try:
        network = timm.create_model(name, pretrained=False, num_classes=0, **options)
    except (ValueError, AssertionError, RuntimeError, TypeError) as error:
        raise ValueError(_unfit(f"timm:{name}", side, error)) from None
    return network, preprocessing, classifier, fixed, side


@torch.no_grad()
def _feature_dim(network: nn.Module, name: str, size: int) -> int:
    """D, from what the network makes of two grey images. ValueError when that is not one vector each."""
    training = network.training
    try:
        features = network.eval()(torch.zeros(2, 3, size, size))
    except (ValueError, AssertionError, RuntimeError, TypeError, IndexError) as error:
        raise ValueError(_unfit(name, size, error)) from None
    finally:
        network.train(training)
    if not isinstance(features, torch.Tensor) or features.dim() != 2 or len(features) != 2:
        shape = list(features.shape) if isinstance(features, torch.Tensor) else f"a {type(features).__name__}"
        raise ValueError(f"{name} gives {shape} for two images, not one vector of features for each [2, D]")
    return features.shape[1]


def _unfit(name: str, size: int, error: Exception) -> str:
    return f"{name} cannot be built for images of {size} pixels a side: {' '.join(str(error).split())[:300]}"


def _unknown(source: str, name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    return f"{source}:{name} is no network of the {source} installed here{hint}"
