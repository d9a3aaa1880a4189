"""The card of a bundle: what the network and the files say of themselves, before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from amcl_serve.model.bundle import InputSpec, ModelCard, Parity, Precision, Probe, Whitening, probe_image
from export.networks import Network
from export.sources import About

# Between two processors the int8 encoder's probe differs by less; another network's is nowhere near.
_PROBE_MIN_COSINE = 0.99


@dataclass(frozen=True)
class Words:
    """What only the author of a model can say of it."""

    name: str
    description: str
    training_data: str | None  # None: what the source says
    licence: str
    notes: tuple[str, ...] = ()


def card(
    about: About,
    words: Words,
    spec: InputSpec,
    whitening: Whitening | None,
    parities: Mapping[Precision, Parity],
    networks: Mapping[Precision, Network],
) -> ModelCard:
    """A card without files, metrics and calibration, which come later."""
    return ModelCard(
        name=words.name,
        description=words.description,
        method=about.method,
        recipe=about.recipe,
        config=about.config,
        backbone=about.backbone,
        feature_dim=about.feature_dim,
        num_heads=about.num_heads,
        head_dim=about.head_dim,
        input=spec,
        temperature=about.temperature,
        whitening=whitening,
        files={},
        parity=dict(parities),
        metrics={},
        calibration=None,
        probe=probe(networks, spec),
        training_data=words.training_data or about.training_data,
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
