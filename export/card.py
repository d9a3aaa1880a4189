"""The card of a bundle: what the run's config and the files say of themselves, before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amcl_serve.model.bundle import (
    InputSpec,
    ModelCard,
    Parity,
    Precision,
    Probe,
    TemperatureSpec,
    Whitening,
    probe_image,
)
from export.networks import Network
from training.config import Config, to_dict
from training.model.model import AmclModel

# Between two processors the int8 encoder's probe differs by less; another network's is nowhere near.
_PROBE_MIN_COSINE = 0.99


@dataclass(frozen=True)
class Words:
    """What only the author of a model can say of it."""

    name: str
    description: str
    training_data: str | None  # None: named after the data the run was given
    licence: str
    notes: tuple[str, ...] = ()


def card(
    model: AmclModel,
    config: Config,
    words: Words,
    spec: InputSpec,
    whitening: Whitening | None,
    parities: Mapping[Precision, Parity],
    networks: Mapping[Precision, Network],
) -> ModelCard:
    """A card without files, metrics and calibration, which come later."""
    t = config.temperature
    adaptive = t.varies_between_images
    low, high = (t.low, t.high) if adaptive else (t.value, t.value)
    return ModelCard(
        name=words.name,
        description=words.description,
        method=config.recipe,
        recipe=config.recipe,
        config=_shareable(config),
        backbone=config.backbone.name,
        feature_dim=model.feature_dim,
        num_heads=model.num_heads,
        head_dim=model.head_dim,
        input=spec,
        temperature=TemperatureSpec(kind="adaptive" if adaptive else "constant", low=low, high=high, value=t.value),
        whitening=whitening,
        files={},
        parity=dict(parities),
        metrics={},
        calibration=None,
        probe=probe(networks, spec),
        training_data=words.training_data or data_name(config.data.spec) or "not stated",
        licence=words.licence,
        notes=list(words.notes),
    )


def probe(networks: Mapping[Precision, Network], spec: InputSpec) -> Probe:
    """The unit-norm features of the probe image at each precision."""
    found: dict[Precision, list[float]] = {}
    for precision, network in networks.items():
        features = network(probe_image(spec.size)[None]).features[0].astype(np.float64)
        found[precision] = [round(float(value), 6) for value in features / np.linalg.norm(features)]
    return Probe(features=found, min_cosine=_PROBE_MIN_COSINE)


def data_name(spec: str) -> str:
    """`folder:/home/someone/photos` -> `folder:photos`: a bundle travels, its author's paths need not."""
    kind, sign, path = spec.partition(":")
    return f"{kind}:{Path(path).name}" if sign else spec


def _shareable(config: Config) -> dict[str, Any]:
    raw = to_dict(config)
    raw["data"]["spec"] = data_name(config.data.spec)
    raw["data"]["eval_spec"] = data_name(config.data.eval_spec)
    return raw
