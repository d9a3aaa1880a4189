"""Whitening of a network by images: which are looked at, and what becomes of them."""

from __future__ import annotations

import numpy as np

from export import whiten
from export.images import ImageSet, batches
from export.networks import Network, served_network
from export.sources import Source

_IMAGES = 20_000


def looked_at(images: ImageSet) -> list[int]:
    """Which of `images` a whitening is fitted on: up to 20,000, a fixed random choice."""
    return sorted(np.random.default_rng(2).permutation(len(images))[:_IMAGES].tolist())


def whiten_on(source: Source, images: ImageSet, kind: whiten.Kind, network: Network | None = None) -> None:
    """Give `source` a last layer of `kind`, fitted on `images`; `network` runs it as it is, and is made if need be."""
    run = network or served_network(source.write)
    blocks = batches(images, source.spec, looked_at(images))
    found = whiten.fit(np.concatenate([run(block).features for block in blocks]), kind)
    if found is not None:
        source.whiten(found)
