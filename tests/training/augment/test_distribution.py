"""Views from workers and from the device are distributed as torchvision's: a two-sample test of many statistics.

Each side augments the same images with its own random numbers. At the fixed seeds no statistic may
differ at the level of 1e-4; that the tests see a difference is shown by wrong strengths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import InterpolationMode, v2

from amcl_serve.evaluation.views import draw
from amcl_serve.evaluation.views.draw import DRAWS
from training import data
from training.augment import Augmentation
from training.config import AugmentConfig
from training.data.sources import ArrayImages

IMAGES, TIMES, SIZE, SIDE = 50, 40, 16, 24  # so 2000 views a side
LEVEL = 1e-4
STRENGTH, SMALLEST = 0.5, 0.2
CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Thousands of small operations."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _p(one: np.ndarray, other: np.ndarray) -> float:
    """Of the two-sample Kolmogorov-Smirnov test."""
    return float(ks_2samp(one, other, method="asymp").pvalue)


def _pictures() -> np.ndarray:
    """Smooth, colourful, bright and dark, different left and right: uint8 [IMAGES, SIDE, SIDE, 3]."""
    coarse = np.random.default_rng(5).integers(20, 236, (IMAGES, 6, 6, 3), dtype=np.uint8)
    return np.stack([Image.fromarray(c).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for c in coarse])


def _jitter(strength: float) -> v2.Transform:
    s = 0.8 * strength
    return v2.RandomApply([v2.ColorJitter(s, s, s, 0.2 * strength)], p=0.8)


THEIRS: dict[str, Callable[[], v2.Transform]] = {
    "a": lambda: v2.RandomResizedCrop(SIZE, scale=(SMALLEST, 1.0), antialias=True),
    "b": lambda: v2.RandomApply([v2.GaussianBlur(3, (0.1, 2.0))], p=0.5),
    "c": lambda: v2.RandomGrayscale(0.2),
    "d": lambda: _jitter(STRENGTH),
    "e": lambda: v2.RandomHorizontalFlip(0.5),
}


def _torchvision(kinds: str, resident: str) -> torch.Tensor:
    """Crops are rounded to bytes where ours are; then flip, jitter, grey and blur, as in SimCLR's code."""
    torch.manual_seed(3)
    images = torch.from_numpy(_pictures()).permute(0, 3, 1, 2)
    whole = v2.Resize((SIZE, SIZE), InterpolationMode.BILINEAR, antialias=True)
    steps = [THEIRS["a"]() if "a" in kinds else whole, v2.ToDtype(torch.float32, scale=True)]
    steps = steps if resident == "never" else steps[::-1]
    transform = v2.Compose(steps + [THEIRS[kind]() for kind in "edcb" if kind in kinds])
    return torch.stack([transform(image) for image in images for _ in range(TIMES)])


def _ours(kinds: str, resident: str, strength: float = STRENGTH) -> torch.Tensor:
    images = ArrayImages(_pictures(), None)
    config = AugmentConfig(kinds=kinds, crop_min_scale=SMALLEST, jitter_strength=strength)
    stream = data.batches(
        images,
        Augmentation(config, SIZE),
        batch_size=IMAGES,
        seed=1,
        start=0,
        stop=TIMES // 2,
        workers=0,
        device=CPU,
        resident=resident,
    )
    return torch.cat([batch.views(CPU) for batch in stream])


def _hue(mean: torch.Tensor) -> torch.Tensor:
    """Angle of mean colours [N, 3] around the grey axis; 0 on it."""
    r, g, b = mean.unbind(1)
    coloured = mean.amax(1) - mean.amin(1) > 0.01
    return torch.where(coloured, torch.atan2(3**0.5 * (g - b), 2 * r - g - b), 0)


def _statistics(x: torch.Tensor, seed: int) -> dict[str, np.ndarray]:
    """Of each view [N, 3, S, S], with noise of one level: a flipped image has the same largest value to the byte."""
    mean, grey = x.mean((2, 3)), x.mean(1)
    half = SIZE // 2
    found = {f"mean {channel}": mean[:, i] for i, channel in enumerate("rgb")}
    found |= {f"deviation {channel}": x[:, i].std((1, 2)) for i, channel in enumerate("rgb")}
    found["hue"] = _hue(mean)
    found["saturation"] = (x.amax(1) - x.amin(1)).mean((1, 2))
    found["left less right"] = grey[:, :, :half].mean((1, 2)) - grey[:, :, half:].mean((1, 2))
    found["top less bottom"] = grey[:, :half].mean((1, 2)) - grey[:, half:].mean((1, 2))
    found["sharpness"] = grey.diff(dim=2).square().mean((1, 2)).sqrt() + grey.diff(dim=1).square().mean((1, 2)).sqrt()
    found["largest"], found["smallest"] = x.amax((1, 2, 3)), x.amin((1, 2, 3))
    noise = np.random.default_rng(seed)
    return {name: values.numpy() + noise.uniform(-1, 1, len(x)) / 255 for name, values in found.items()}


def _least(ours: torch.Tensor, theirs: torch.Tensor) -> tuple[float, str]:
    """The smallest p of all statistics, and whose."""
    one, other = _statistics(ours, 1), _statistics(theirs, 2)
    return min((_p(one[name], other[name]), name) for name in one)


@pytest.mark.parametrize("resident", ["always", "never"])
@pytest.mark.parametrize("kinds", ["a", "b", "c", "d", "e", "abcde"])
def test_views_are_distributed_as_torchvisions(kinds: str, resident: str) -> None:
    p, name = _least(_ours(kinds, resident), _torchvision(kinds, resident))
    assert p > LEVEL, f"{name}: p = {p:.1e}"


@pytest.mark.parametrize(("kinds", "change"), [("d", {"strength": 0.7}), ("abcde", {"strength": 0.8})])
def test_a_wrong_strength_is_seen(kinds: str, change: dict[str, float]) -> None:
    p, _ = _least(_ours(kinds, "always", **change), _torchvision(kinds, "always"))
    assert p < LEVEL


def test_boxes_are_distributed_as_torchvisions() -> None:
    """Area, aspect and position of crops of an oblong image."""
    width, height, count = 64, 48, 4000
    torch.manual_seed(0)
    transform, image = v2.RandomResizedCrop(16, scale=(SMALLEST, 1.0)), torch.empty(3, height, width)
    sampled = [transform.make_params([image]) for _ in range(count)]
    theirs = np.array([(p["left"], p["top"], p["width"], p["height"]) for p in sampled], float)
    u = np.random.default_rng(1).random((1, count, DRAWS))
    augmentation = Augmentation(AugmentConfig(kinds="a", crop_min_scale=SMALLEST), 16)
    left, top, right, bottom = augmentation.decide(u, np.full(count, 64.0), np.full(count, 48.0)).boxes.T
    ours = np.stack([left, top, right - left, bottom - top], 1)
    for statistic in (
        lambda b: b[:, 2] * b[:, 3],
        lambda b: b[:, 2] / b[:, 3],
        lambda b: b[:, 0] + b[:, 2] / 2,
        lambda b: b[:, 1] + b[:, 3] / 2,
        lambda b: b[:, 0],
        lambda b: b[:, 1],
    ):
        assert _p(statistic(ours), statistic(theirs)) > LEVEL


def test_factors_shifts_and_sigmas_are_uniform() -> None:
    u = np.random.default_rng(2).random((1, 4000, DRAWS))
    config = AugmentConfig(kinds="bd", jitter_strength=STRENGTH)
    p = Augmentation(config, 16).decide(u, np.full(4000, 16.0), np.full(4000, 16.0)).parameters
    jitter = v2.ColorJitter(0.4, 0.4, 0.4, 0.1)
    torch.manual_seed(1)
    sampled = [jitter.make_params([]) for _ in range(3000)]
    on = p[:, draw.JITTER] > 0
    names = {"brightness_factor": draw.BRIGHTNESS, "contrast_factor": draw.CONTRAST}
    names |= {"saturation_factor": draw.SATURATION, "hue_factor": draw.HUE}
    for name, column in names.items():
        assert _p(p[on, column], np.array([float(s[name]) for s in sampled])) > LEVEL, name
    blur = v2.GaussianBlur(3, (0.1, 2.0))
    theirs = np.array([blur.make_params([])["sigma"][0] for _ in range(3000)])
    assert _p(p[p[:, draw.SIGMA] > 0, draw.SIGMA], theirs) > LEVEL
