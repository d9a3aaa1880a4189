"""The stream is a function of (seed, step), whatever reads it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from amcl_serve.evaluation.views.crop import crop
from training import data
from training.augment import Augmentation, photometric
from training.config import AugmentConfig
from training.data import stream
from training.data.plan import Plan
from training.data.sources import ArrayImages

CPU = torch.device("cpu")
KINDS = AugmentConfig(kinds="abcde")
AUGMENTATION = Augmentation(KINDS, 16)


def _stream(images: data.Images, start: int, stop: int, **change: object) -> list[data.Batch]:
    settings = {"batch_size": 8, "seed": 0, "workers": 0, "device": CPU, "resident": "never", **change}
    augmentation = settings.pop("augmentation", AUGMENTATION)
    return list(data.batches(images, augmentation, start=start, stop=stop, **settings))


def _views(images: data.Images, start: int, stop: int, **change: object) -> torch.Tensor:
    return torch.stack([batch.views(CPU) for batch in _stream(images, start, stop, **change)])


@pytest.fixture(scope="module")
def images(folder: Path) -> data.Images:
    return data.open_images(f"folder:{folder}")


def test_a_batch_is_first_views_then_second(images: data.Images) -> None:
    seen = _views(images, 5, 6)[0]
    assert seen.shape == (16, 3, 16, 16)
    assert seen.dtype == torch.float32
    plan = Plan(images, 8, 0)
    drawn = AUGMENTATION.decide(plan.uniforms(5), np.full(8, 40.0), np.full(8, 32.0))
    for row, index in enumerate(plan.indices(5)):
        for view in (row, row + 8):
            pixels = crop(images.load(int(index)), drawn.boxes[view], drawn.flips[view], 16)
            x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].contiguous() / 255
            expected = photometric(x, torch.from_numpy(drawn.parameters[view : view + 1]))[0]
            torch.testing.assert_close(seen[view], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("resident", ["always", "never"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_entered_late_is_the_rest_of_the_whole(images: data.Images, workers: int, resident: str) -> None:
    whole = _views(images, 0, 7, resident=resident)
    rest = _views(images, 4, 7, resident=resident, workers=workers)
    assert torch.equal(whole[4:], rest)
    assert not torch.equal(whole[0], whole[3])  # the same rows of the next epoch
    assert not torch.equal(_views(images, 4, 7, resident=resident, seed=1), rest)


@pytest.mark.parametrize("resident", ["always", "never"])
def test_early_steps_are_smaller_and_see_the_same(images: data.Images, resident: str) -> None:
    small, large = (
        _stream(images, 0, 4, resident=resident, augmentation=Augmentation(KINDS, side)) for side in (8, 16)
    )
    grown = _stream(images, 0, 4, resident=resident, augmentation=Augmentation(KINDS, 16, early_size=8, grown=3))
    for found, expected in zip(grown, [*small[:3], large[3]], strict=True):
        assert torch.equal(found.views(CPU), expected.views(CPU))
    late = _stream(images, 2, 4, resident=resident, augmentation=Augmentation(KINDS, 16, early_size=8, grown=3))
    assert [batch.views(CPU).shape[-1] for batch in late] == [8, 16]


@pytest.mark.parametrize("kinds", ["a", "ae", "abcde", "barlow_twins"])
def test_images_on_the_device_give_the_batches_of_the_workers(images: data.Images, kinds: str) -> None:
    augmentation = Augmentation(AugmentConfig(kinds=kinds), 16)
    settings = {"batch_size": 8, "seed": 3, "start": 2, "stop": 5, "workers": 0, "device": CPU}
    for one, other in zip(
        data.batches(images, augmentation, resident="always", **settings),
        data.batches(images, augmentation, resident="never", **settings),
        strict=True,
    ):
        difference = (one.views(CPU) - other.views(CPU)).abs()
        # Workers round crops to bytes, twice; saturated colours turn a level into a few.
        assert difference.mean() < 1 / 255
        assert difference.quantile(0.99) < (1.1 / 255 if kinds in ("a", "ae") else 6 / 255)


def test_blocks_of_full_size_images_do_not_show(images: data.Images, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _views(images, 0, 3)
    for block in (3, 8, 1):
        monkeypatch.setattr(stream, "_BLOCK", block)
        assert torch.equal(_views(images, 0, 3), whole)


def test_processes_share_the_global_batch(images: data.Images) -> None:
    whole = _views(images, 0, 4)
    parts = [_views(images, 0, 4, rank=rank, world_size=2).unflatten(1, (2, 4)) for rank in range(2)]
    assert torch.equal(torch.cat(parts, 2).flatten(1, 2), whole)


def test_an_epoch_shows_each_image_once_and_epochs_differ(images: data.Images) -> None:
    plan = Plan(images, 8, 0)
    first, second = (np.concatenate([plan.indices(step) for step in steps]) for steps in (range(3), range(3, 6)))
    assert sorted(first) == sorted(second) == list(range(24))
    assert list(first) != list(second)


@pytest.mark.parametrize("resident", ["always", "never"])
@pytest.mark.parametrize("place", [0, 5])
def test_a_broken_image_is_reported_by_number_and_grey(folder: Path, tmp_path: Path, resident: str, place: int) -> None:
    shutil.copytree(folder, tmp_path / "images")
    path = data.list_images(tmp_path / "images")[place]
    path.write_bytes(path.read_bytes()[:100])
    images = data.open_images(f"folder:{tmp_path / 'images'}")
    found = _stream(images, 0, 3, resident=resident)
    assert [i for batch in found for i in batch.broken] == [place]
    step = next(step for step, batch in enumerate(found) if batch.broken)
    row = list(Plan(images, 8, 0).indices(step)).index(place)
    for view in (row, row + 8):
        assert found[step].views(CPU)[view].std(dim=(1, 2)).max() < 1e-6


def test_what_cannot_be_kept_on_the_device_is_read_by_workers(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "images")
    images = data.open_images(f"folder:{tmp_path / 'images'}")
    images.load(0).resize((20, 20)).save(data.list_images(tmp_path / "images")[7])
    with pytest.raises(ValueError, match=r"data\.resident=always, but .* differs in size .* 40 x 32"):
        _stream(images, 0, 1, resident="always")
    assert torch.equal(_views(images, 0, 3, resident="auto"), _views(images, 0, 3))
    large = ArrayImages(np.zeros((8, 129, 4, 3), np.uint8), None)
    with pytest.raises(ValueError, match="4 x 129, more than 128 pixels a side"):
        _stream(large, 0, 1, resident="always")
    many = ArrayImages(np.broadcast_to(np.zeros((), np.uint8), (200_000, 64, 64, 3)), None)
    with pytest.raises(ValueError, match="take more than 2 GiB"):
        _stream(many, 0, 1, resident="always")
