"""Views: functions of (seed, epoch, image), whose operations are torchvision's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from training import augment
from training.augment import Augmentation, photometric, views
from training.config import AugmentConfig


def _image(width: int = 40, height: int = 30, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def _float(seed: int = 0, count: int = 4) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


OPERATIONS = [
    (augment._brightness, tv.adjust_brightness, (0.2, 1.8)),
    (augment._contrast, tv.adjust_contrast, (0.2, 1.8)),
    (augment._saturation, tv.adjust_saturation, (0.2, 1.8)),
    (augment._hue, tv.adjust_hue, (-0.4, 0.4)),
]


@pytest.mark.parametrize(("ours", "theirs", "values"), OPERATIONS)
def test_colour_operations_are_torchvisions(ours, theirs, values) -> None:
    x = _float()
    x[0] = 0.5  # grey has no hue
    factors = torch.linspace(*values, len(x))
    expected = torch.stack([theirs(image, float(f)) for image, f in zip(x, factors, strict=True)])
    torch.testing.assert_close(ours(x, factors.view(-1, 1, 1, 1)), expected, rtol=0, atol=2e-6)


def test_blur_is_torchvisions() -> None:
    x, sigma = _float(1), torch.tensor([0.1, 0.5, 1.0, 2.0])
    ours = augment._blur(x, sigma)
    expected = torch.stack([tv.gaussian_blur(i, [3, 3], [float(s)] * 2) for i, s in zip(x, sigma, strict=True)])
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


def test_colour_dropping_leaves_grey() -> None:
    pixels = torch.from_numpy(_image(16, 16)[None])
    off = torch.tensor([[0, 0, 1, 1, 1, 0, 0, 0.0]])
    drop = off.clone()
    drop[0, augment._GREY] = 1
    plain, grey = photometric(pixels, off), photometric(pixels, drop)
    torch.testing.assert_close(plain, pixels.permute(0, 3, 1, 2) / 255)
    torch.testing.assert_close(grey, tv.rgb_to_grayscale(plain, 3), rtol=0, atol=1e-6)


def test_every_order_of_the_jitter_is_applied_in_that_order() -> None:
    pixels = torch.from_numpy(_image(16, 16, 3)[None])
    for number, order in enumerate(augment._ORDERS):
        parameters = torch.tensor([[1, number, 0.7, 1.3, 0.6, 0.1, 0, 0.0]])
        expected = pixels.permute(0, 3, 1, 2).float() / 255
        for operation in order:
            expected = OPERATIONS[operation][1](expected, float(parameters[0, 2 + operation]))
        torch.testing.assert_close(photometric(pixels, parameters), expected, rtol=0, atol=1e-5)


def test_crop_is_torchvisions_in_distribution() -> None:
    """Areas and aspect ratios of many crops have the moments of torchvision's RandomResizedCrop.get_params."""
    augmentation = Augmentation(AugmentConfig(kinds="a", crop_min_scale=0.2), 16)
    image = torch.empty(3, 48, 64)
    torch.manual_seed(0)
    transform = v2.RandomResizedCrop(16, scale=(0.2, 1.0))
    sampled = [transform.make_params([image]) for _ in range(4000)]
    theirs = np.array([(p["left"], p["top"], p["width"], p["height"]) for p in sampled], float)
    boxes = [augmentation._box(64, 48, augmentation.draw(1, 0, i)[0]) for i in range(4000)]
    ours = np.array([(left, top, right - left, bottom - top) for left, top, right, bottom in boxes])
    error = np.sqrt(theirs.var(0) / 4000 + ours.var(0) / 4000)
    assert (np.abs(theirs.mean(0) - ours.mean(0)) < 4.5 * error).all()
    np.testing.assert_allclose(ours.std(0), theirs.std(0), rtol=0.06)


def test_crop_and_flip_of_known_numbers() -> None:
    augmentation = Augmentation(AugmentConfig(kinds="e"), 16)
    source = _image(16, 16)
    u = np.full(32, 0.9)
    np.testing.assert_array_equal(augmentation.crop(Image.fromarray(source), u), source)
    u[22] = 0.1
    np.testing.assert_array_equal(augmentation.crop(Image.fromarray(source), u), source[:, ::-1])


def test_shares_of_each_kind() -> None:
    augmentation = Augmentation(AugmentConfig(kinds="abcde", jitter_strength=1.0), 16)
    rows = np.stack([augmentation.parameters(augmentation.draw(0, 0, i)[0]) for i in range(4000)])
    shares = [(rows[:, column] > 0).mean() for column in (augment._JITTER, augment._GREY, augment._SIGMA)]
    np.testing.assert_allclose(shares, [0.8, 0.2, 0.5], atol=0.03)
    jittered = rows[rows[:, augment._JITTER] > 0]
    low, high = jittered[:, 2:6].min(0), jittered[:, 2:6].max(0)
    np.testing.assert_allclose(low, [0.2, 0.2, 0.2, -0.2], atol=0.01)
    np.testing.assert_allclose(high, [1.8, 1.8, 1.8, 0.2], atol=0.01)
    assert set(jittered[:, 1]) == set(range(24))


def test_views_are_a_function_of_seed_epoch_and_image() -> None:
    image = _image()
    one = views(image, preset="abcde", size=16, seed=1, epoch=2, index=3)
    assert one.shape == (2, 16, 16, 3)
    assert one.dtype == np.uint8
    np.testing.assert_array_equal(one, views(image, preset="abcde", size=16, seed=1, epoch=2, index=3))
    assert not np.array_equal(one[0], one[1])
    for other in ({"seed": 2}, {"epoch": 3}, {"index": 4}):
        changed = views(image, preset="abcde", size=16, **{"seed": 1, "epoch": 2, "index": 3, **other})
        assert not np.array_equal(one, changed), other


def test_no_kinds_is_the_plain_centre() -> None:
    plain = views(_image(16, 16), preset="", size=16, seed=0, epoch=0, index=0)
    np.testing.assert_array_equal(plain[0], _image(16, 16))


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
def test_odd_shapes_give_views(size: tuple[int, int]) -> None:
    assert views(_image(*size), preset="abcde", size=16, seed=0, epoch=0, index=0).shape == (2, 16, 16, 3)
