"""Pairs of augmented views, sent to the model as PNG files, so that they go the way of requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from amcl_serve.errors import AmclError
from amcl_serve.evaluation.embedder import Embedded
from amcl_serve.evaluation.progress import Progress
from amcl_serve.evaluation.protocols.look import Look
from amcl_serve.evaluation.views import views
from amcl_serve.machine import cores
from amcl_serve.model.pixels import upright

_BLOCK = 16  # images whose views are held at a time
_RANGE_IMAGES, _RANGE_PIXELS, _RANGE_BATCH = 256, 2**21, 32

Numbers = npt.NDArray[np.int64]


def order(count: int, size: int, seed: int) -> list[int]:
    """`count` images, shuffled by `seed`; last those that an export from the same folder took int8's ranges from.

    So a card's figures, which leave those out, are those of the first of these images.
    """
    last = range_indices(count, size)
    taken = set(last)
    return [int(each) for each in np.random.default_rng(seed).permutation(count) if int(each) not in taken] + last


def range_indices(count: int, size: int) -> list[int]:
    """Which of `count` held-out images give int8 its ranges: a fixed random choice, which nothing is reported on.

    256 images, fewer of large ones or of a small set; a whole number of batches.
    """
    shuffled = np.random.default_rng(1).permutation(count)
    chosen = min(_RANGE_IMAGES, max(_RANGE_BATCH, _RANGE_PIXELS // size**2), count // 2) // _RANGE_BATCH * _RANGE_BATCH
    return [int(index) for index in shuffled[:chosen]]


@dataclass(frozen=True)
class Views:
    """By model of the look, two views by one preset of each of P images at `places`; an image is in all or in none."""

    preset: str
    places: Numbers  # [P]
    first: Sequence[Sequence[Embedded]]  # by model [P]
    second: Sequence[Sequence[Embedded]]


def embed_views(look: Look, wanted: Mapping[str, Sequence[int]], seed: int, progress: Progress) -> dict[str, Views]:
    """Two views of the images at the places that `wanted` gives for each preset; each image is read once a model size.

    Views are functions of (seed, number among the held-out images): every model sees the same, at its own size.
    """
    number = {int(place): row for row, place in enumerate(look.held_out)}
    places = list(dict.fromkeys(place for each in wanted.values() for place in each))
    chosen = {preset: set(each) for preset, each in wanted.items()}
    sizes = [model.embedder.about.size for model in look.models]
    found: list[dict[tuple[str, int], tuple[Embedded, Embedded]]] = [{} for _ in look.models]
    progress("views", 0, len(places))

    def made(place: int) -> list[list[bytes]]:
        """By size, the files of two views by each preset of the image."""
        image = np.asarray(upright(look.dataset.read(int(look.indices[place]))))
        return [
            [
                png(view)
                for preset, those in chosen.items()
                if place in those
                for view in views(image, preset=preset, size=size, seed=seed, epoch=0, index=number[place])
            ]
            for size in dict.fromkeys(sizes)
        ]

    def tried(place: int) -> list[list[bytes]]:
        try:
            return made(place)
        except (AmclError, OSError):
            return []  # gone since it was looked at

    with ThreadPoolExecutor(cores(), thread_name_prefix="amcl-views") as pool:
        for start in range(0, len(places), _BLOCK):
            block = places[start : start + _BLOCK]
            files = dict(zip(block, pool.map(tried, block), strict=True))
            for model, size, into in zip(look.models, sizes, found, strict=True):
                at = list(dict.fromkeys(sizes)).index(size)
                here = [place for place in block if files[place]]
                answers = iter(model.embedder.embed([file for place in here for file in files[place][at]]))
                for place in here:
                    for preset, those in chosen.items():
                        if place in those:
                            one, other = next(answers), next(answers)
                            if isinstance(one, Embedded) and isinstance(other, Embedded):
                                into[preset, place] = one, other
            progress("views", min(start + _BLOCK, len(places)), len(places))
    out = {}
    for preset, each in wanted.items():
        kept = [place for place in each if all((preset, place) in those for those in found)]
        sides = [[[those[preset, place][side] for place in kept] for those in found] for side in (0, 1)]
        out[preset] = Views(preset, np.array(kept, np.int64), *sides)
    return out


def view_images(look: Look, preset: str, place: int, size: int, seed: int) -> list[npt.NDArray[np.uint8]]:
    """The two views again, to be looked at."""
    image = np.asarray(upright(look.dataset.read(int(look.indices[place]))))
    number = int(np.searchsorted(look.held_out, place))
    return list(views(image, preset=preset, size=size, seed=seed, epoch=0, index=number))


def png(image: npt.NDArray[np.uint8]) -> bytes:
    """As a file without loss."""
    stream = BytesIO()
    Image.fromarray(image).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
