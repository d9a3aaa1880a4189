"""Which images an export is measured on, and which of them for what."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from amcl_serve.evaluation.protocols.view_sets import range_indices
from amcl_serve.model.bundle import InputSpec, Metric, Precision
from export.errors import UsageError
from export.images import (
    ImageSet,
    folder_images,
    least_large_side,
    pixels,
    reported_indices,
    synthetic_pixels,
)
from export.metrics import KNN_K
from export.networks import Network, Pixels
from export.verify import SCALED_DECODING_COSINE, SCALED_DECODING_IMAGES, scaled_decoding

MIN_IMAGES = 64
_PARITY_IMAGES = 1000
_SYNTHETIC_IMAGES = 64


def measured_on(
    images: Path | None, train_images: Path | None, precisions: tuple[Precision, ...]
) -> tuple[ImageSet | None, ImageSet | None]:
    """Held-out images and the labelled bank, as far as they were given; UsageError where they do not do."""
    if images is None:
        if "int8" in precisions:
            raise UsageError("int8 needs --images FOLDER: its ranges and its parity are measured on held-out images")
        if train_images is not None:
            raise UsageError("--train-images needs --images: the labelled held-out images that query it")
        return None, None
    held_out = folder_images(images)
    if len(held_out) < MIN_IMAGES:
        raise UsageError(f"--images {images} holds {len(held_out)} images; at least {MIN_IMAGES} are needed")
    if train_images is None:
        return held_out, None
    bank = folder_images(train_images)
    if bank.labels is None or held_out.labels is None:
        raise UsageError("kNN needs labels: in --images and --train-images put each class into a folder of its own")
    if not set(held_out.labels) & set(bank.labels):
        raise UsageError("--images and --train-images have no class in common; their folders' names are the labels")
    if len(bank) < KNN_K:
        raise UsageError(f"--train-images {train_images} holds {len(bank)} images; at least {KNN_K} are needed")
    return held_out, bank


def decided_decoding(
    spec: InputSpec, whitened: bool, fp32: Network, held_out: ImageSet | None, large: Path | None
) -> tuple[InputSpec, Metric | None]:
    """`spec` with or without scaled JPEG decoding, and what decided on it, if anything did."""
    photographs = held_out if large is None else folder_images(large)
    found = None if photographs is None else scaled_decoding(fp32, photographs, spec)
    if found is None:
        if large is not None:
            raise UsageError(
                f"--large-images {large} holds too few JPEGs with sides of {least_large_side(spec)} pixels or more; "
                f"at least {SCALED_DECODING_IMAGES} are needed"
            )
        return spec, None
    return spec.model_copy(update={"scaled_jpeg_decoding": found.value >= SCALED_DECODING_COSINE[whitened]}), found


def samples(held_out: ImageSet | None, spec: InputSpec) -> tuple[Pixels, Pixels]:
    """(pixels that give int8 its ranges, pixels that parity is measured on): disjoint, a fixed random choice."""
    if held_out is None:
        return np.empty((0, spec.size, spec.size, 3), np.uint8), synthetic_pixels(_SYNTHETIC_IMAGES, spec.size)
    count = len(held_out)
    checked = reported_indices(count, spec.size, seed=1)[:_PARITY_IMAGES]
    return pixels(held_out, range_indices(count, spec.size), spec), pixels(held_out, checked, spec)
