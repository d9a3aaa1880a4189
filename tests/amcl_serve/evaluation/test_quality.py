"""What is odd about a picture, and that each is named once."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from amcl_serve.evaluation.protocols.quality import Quality, oddities, quality
from tests.amcl_serve.evaluation.conftest import picture


def of(pixels: np.ndarray) -> Quality:
    stream = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
    return quality(stream.getvalue())


def test_each_oddity_is_found_and_named() -> None:
    rng = np.random.default_rng(0)
    usual = [of(rng.integers(0, 256, (128, 128, 3))) for _ in range(6)]
    smooth = np.asarray(picture(1, side=128))
    grey = np.repeat(rng.integers(0, 256, (128, 128, 1)), 3, axis=2)
    bars = np.zeros((128, 128, 3))
    bars[::4] = (200, 100, 100)  # two colours and many edges
    odd = {
        "dark": rng.integers(0, 20, (128, 128, 3)),
        "light": rng.integers(240, 256, (128, 128, 3)),
        "low information": bars + 60,
        "blurry": smooth,
        "long": rng.integers(0, 256, (64, 256, 3)),
        "odd size": rng.integers(0, 256, (20, 20, 3)),
        "greyscale": grey,
    }
    found = oddities([*usual, *map(of, odd.values())])
    assert found == {word: [len(usual) + place] for place, word in enumerate(odd)}


def test_grey_ones_among_grey_ones_are_not_odd() -> None:
    grey = of(np.repeat(np.arange(128 * 128).reshape(128, 128, 1) % 251, 3, axis=2))
    assert oddities([grey] * 3)["greyscale"] == []
    assert oddities([]) == {}
