"""Views: functions of (seed, epoch, image), whose operations are torchvision's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as tv

from amcl_serve.evaluation.views import draw, views
from amcl_serve.evaluation.views.crop import crop
from training.augment import (
    DRAWS,
    Augmentation,
    Strengths,
    colour,
    crop_batch,
    photometric,
    strengths,
)
from training.config import AugmentConfig


def _image(width: int = 40, height: int = 30, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def _float(seed: int = 0, count: int = 4) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


OPERATIONS = [
    (colour.brightness, tv.adjust_brightness, (0.2, 1.8)),
    (colour.contrast, tv.adjust_contrast, (0.2, 1.8)),
    (colour.saturation, tv.adjust_saturation, (0.2, 1.8)),
    (colour.hue_shift, tv.adjust_hue, (-0.4, 0.4)),
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
    ours = colour.blur(x, sigma.view(-1, 1, 1, 1))
    expected = torch.stack([tv.gaussian_blur(i, [3, 3], [float(s)] * 2) for i, s in zip(x, sigma, strict=True)])
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


def _parameters(**change: float) -> torch.Tensor:
    off = {"JITTER": 0, "ORDER": 0, "BRIGHTNESS": 1, "CONTRAST": 1, "SATURATION": 1, "HUE": 0, "GREY": 0, "SIGMA": 0}
    return torch.tensor([list({**off, "SOLARISE": 0, **change}.values())], dtype=torch.float32)


def test_colour_dropping_and_solarisation() -> None:
    x = torch.from_numpy(_image(16, 16)).permute(2, 0, 1)[None].float() / 255
    assert torch.equal(photometric(x.clone(), _parameters()), x)
    grey, solarised = photometric(x.clone(), _parameters(GREY=1)), photometric(x.clone(), _parameters(SOLARISE=1))
    torch.testing.assert_close(grey, tv.rgb_to_grayscale(x, 3), rtol=0, atol=1e-6)
    torch.testing.assert_close(solarised, tv.solarize(x, 128 / 255), rtol=0, atol=1e-6)


def test_every_order_of_the_jitter_is_applied_in_that_order() -> None:
    x = torch.from_numpy(_image(16, 16, 3)).permute(2, 0, 1)[None].float() / 255
    for number, order in enumerate(draw.ORDERS):
        parameters = _parameters(JITTER=1, ORDER=number, BRIGHTNESS=0.7, CONTRAST=1.3, SATURATION=0.6, HUE=0.1)
        expected = x
        for operation in order:
            expected = OPERATIONS[operation][1](expected, float(parameters[0, 2 + operation]))
        torch.testing.assert_close(photometric(x.clone(), parameters), expected, rtol=0, atol=1e-5)


def test_a_batch_does_to_each_row_what_it_does_to_the_row_alone() -> None:
    augmentation = Augmentation(AugmentConfig(kinds="barlow_twins"), 16)
    u = np.random.default_rng(0).random((2, 40, DRAWS))
    parameters = torch.from_numpy(augmentation.decide(u, np.full(40, 16.0), np.full(40, 16.0)).parameters)
    x = torch.rand(80, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([photometric(x[i : i + 1].clone(), parameters[i : i + 1]) for i in range(80)])
    torch.testing.assert_close(photometric(x.clone(), parameters), alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [12, 32, 50])
def test_cropping_a_batch_is_pillows_within_rounding(size: int) -> None:
    rng = np.random.default_rng(size)
    pixels = rng.integers(0, 256, (60, 40, 32, 3), dtype=np.uint8)
    drawn = Augmentation(AugmentConfig(kinds="ae", crop_min_scale=0.02), size).decide(
        rng.random((2, 60, DRAWS)), np.full(60, 32.0), np.full(60, 40.0)
    )
    ours = crop_batch(
        torch.from_numpy(pixels).permute(0, 1, 3, 2).contiguous(),
        torch.from_numpy(drawn.boxes).float(),
        torch.from_numpy(drawn.flips),
        size,
    )
    for row in range(120):
        theirs = crop(Image.fromarray(pixels[row % 60]), drawn.boxes[row], drawn.flips[row], size)
        difference = ours[row].permute(1, 2, 0).mul(255).sub(torch.from_numpy(theirs.astype(np.float32)))
        assert difference.abs().max() <= 1.01  # half a level for each of Pillow's two roundings


def test_a_crop_that_shrinks_is_torchvisions_antialiased_one() -> None:
    pixels = torch.from_numpy(_image(32, 40))
    for box in ([0, 0, 32, 40], [0.0, 8, 32, 40]):
        ours = crop_batch(
            pixels.permute(0, 2, 1)[None].contiguous(),
            torch.tensor([box, box]).float(),
            torch.tensor([False, True]),
            12,
        )
        left, top, right, bottom = map(int, box)
        cut = pixels.permute(2, 0, 1)[:, top:bottom, left:right].float() / 255
        theirs = tv.resize(cut, [12, 12], antialias=True)
        torch.testing.assert_close(ours[0][:, 1:], theirs[:, 1:], rtol=0, atol=2e-6)  # row 0 sees beyond the box
        torch.testing.assert_close(ours[1], ours[0].flip(2), rtol=0, atol=2e-6)


def test_a_long_image_gives_the_centred_square() -> None:
    drawn = Augmentation(AugmentConfig(kinds="a"), 8).decide(
        np.random.default_rng(0).random((1, 3, DRAWS)), np.full(3, 500.0), np.full(3, 1.0)
    )
    np.testing.assert_array_equal(drawn.boxes, [[249.5, 0, 250.5, 1]] * 3)


def test_letters_and_published_sets_become_strengths() -> None:
    none, also_none = strengths(AugmentConfig(kinds=""))
    assert none == also_none == Strengths()
    full, _ = strengths(AugmentConfig(kinds="abcde", crop_min_scale=0.08, jitter_strength=1.0))
    assert full == strengths(AugmentConfig(kinds="simclr"))[0] == strengths(AugmentConfig(kinds="can"))[1]
    moco, _ = strengths(AugmentConfig(kinds="moco"))
    assert (moco.crop, moco.jitter) == (0.2, (0.4, 0.4, 0.4, 0.1))
    for kinds, crop_scale in (("barlow_twins", 0.08), ("lgp", 0.2)):
        first, second = strengths(AugmentConfig(kinds=kinds))
        assert (first.crop, first.blur_p, first.solarise_p) == (crop_scale, 1.0, 0.0)
        assert (second.crop, second.blur_p, second.solarise_p) == (crop_scale, 0.1, 0.2)


@pytest.mark.parametrize("kinds", ["abcde", "barlow_twins"])
def test_shares_and_ranges_of_each_kind(kinds: str) -> None:
    config = AugmentConfig(kinds=kinds, jitter_strength=1.0)
    drawn = Augmentation(config, 16).decide(
        np.random.default_rng(0).random((2, 4000, DRAWS)), np.full(4000, 16.0), np.full(4000, 16.0)
    )
    for view, s in enumerate(strengths(config)):
        rows = drawn.parameters[view * 4000 : (view + 1) * 4000]
        shares = (rows[:, [draw.JITTER, draw.GREY, draw.SIGMA, draw.SOLARISE]] > 0).mean(0)
        np.testing.assert_allclose(shares, [0.8, 0.2, s.blur_p, s.solarise_p], atol=0.03)
        assert abs(drawn.flips.mean() - 0.5) < 0.03
        jittered = rows[rows[:, draw.JITTER] > 0, draw.BRIGHTNESS : draw.HUE + 1]
        spread = np.array(s.jitter)
        np.testing.assert_allclose(jittered.min(0), np.array([1, 1, 1, 0]) - spread, atol=0.01)
        np.testing.assert_allclose(jittered.max(0), np.array([1, 1, 1, 0]) + spread, atol=0.01)
        assert set(rows[rows[:, draw.JITTER] > 0, draw.ORDER]) == set(range(24))
        sigma = rows[rows[:, draw.SIGMA] > 0, draw.SIGMA]
        np.testing.assert_allclose([sigma.min(), sigma.max()], [0.1, 2.0], atol=0.02)


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
