"""Photographs at the size that crops need: the same pixels from files, from a cold cache and from a warm one."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from amcl_serve.evaluation.views.crop import crop
from amcl_serve.model.pixels import upright
from tests.images import oriented, photo, picture, save
from training import data
from training.augment import DRAWS, Augmentation, strengths
from training.config import AugmentConfig
from training.data import Cache
from training.data.reduced import Reduced, reduced, shorter_side
from training.data.sources import ArrayImages

CPU = torch.device("cpu")
AUGMENTATION = Augmentation(AugmentConfig(kinds="ae"), 60)  # 155 pixels
SIDE = 155


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 JPEGs of 600 x 400, and one of 150 x 140."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(16):
        (root / f"{number:02d}.jpg").write_bytes(photo(number, (600, 400)))
    (root / "small.jpg").write_bytes(photo(99, (150, 140)))
    return root


def opened(folder: Path) -> data.Images:
    return data.open_images(f"folder:{folder}")


def views(images: data.Images, cache: Cache | None, workers: int = 0, steps: int = 4) -> torch.Tensor:
    """Two epochs of batches."""
    settings = {"batch_size": 8, "seed": 0, "start": 0, "stop": steps, "device": CPU, "resident": "never"}
    stream = data.batches(images, AUGMENTATION, reduce=True, cache=cache, workers=workers, **settings)
    return torch.stack([batch.views(CPU) for batch in stream])


@pytest.mark.parametrize("kinds", ["ae", "e", "simclr", "lgp"])
@pytest.mark.parametrize("size", [40, 64, 224])
def test_no_crop_is_enlarged(kinds: str, size: int) -> None:
    augmentation = Augmentation(AugmentConfig(kinds=kinds), size)
    side = shorter_side(augmentation)
    shapes = np.array([(side, side), (side * 4 // 3, side), (side, 3 * side)] * 200, float)
    u = np.random.default_rng(0).random((2, len(shapes), DRAWS))
    boxes = augmentation.decide(u, shapes[:, 0], shapes[:, 1]).boxes
    shortest = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]).min()
    assert shortest >= size - 1  # crops end at whole pixels
    needed = size / (0.75 * min(s.crop or 1.0 for s in strengths(augmentation.config))) ** 0.5
    assert side == max(128, int(np.ceil(needed)))


def test_an_image_is_reduced_whole_and_small_ones_are_as_they_are(photos: Path) -> None:
    source = Reduced(opened(photos), SIDE)  # type: ignore[arg-type]
    assert source.load(0).size == (232, 155)
    exact = upright((photos / "00.jpg").read_bytes()).resize((232, 155), Image.Resampling.BILINEAR)
    assert np.abs(np.asarray(source.load(0), float) - np.asarray(exact, float)).mean() < 1
    assert same(source.load(16), upright((photos / "small.jpg").read_bytes()))


def test_formats_of_children_and_turned_images_are_reduced_alike() -> None:
    tiff = upright(save(picture(3, (600, 400)), "TIFF"), side=100)
    png = upright(save(picture(3, (600, 400)), "PNG"), side=100)
    assert same(tiff, png)
    assert png.size == (150, 100)
    turned = upright(oriented(3, 6, (600, 400), "JPEG"), side=100)
    assert turned.size == (150, 100)
    assert np.abs(np.asarray(turned, float) - np.asarray(png, float)).mean() < 2
    assert upright(photo(1, (3000, 4)), side=2).size == (1500, 2)
    assert upright(photo(1, (4, 3000)), side=100).size == (4, 3000)


def test_batches_are_the_same_without_a_cache_with_a_cold_one_and_with_a_warm_one(photos: Path, tmp_path: Path) -> None:
    images = opened(photos)
    expected = views(images, None)
    cache = Cache(tmp_path / "cache", 1 << 30)
    assert torch.equal(views(images, cache), expected)
    assert cache.path.exists()
    assert all(cache_has(images, cache, number) == (number < 16) for number in range(17))
    assert torch.equal(views(images, cache), expected)
    assert torch.equal(views(images, Cache(tmp_path / "cache", 1 << 30), workers=2), expected)
    full = Cache(tmp_path / "full", 8 * 16384 + 3 * 232 * 155 * 3)
    assert torch.equal(views(images, full, workers=2), expected)
    assert 0 < sum(cache_has(images, full, number) for number in range(16)) < 16
    assert torch.equal(views(images, full), expected)


def same(one: Image.Image, other: Image.Image) -> bool:
    """By their pixels: a decoder leaves words beside them, which the cache does not keep."""
    return np.array_equal(np.asarray(one), np.asarray(other))


def cache_has(images: data.Images, cache: Cache, number: int) -> bool:
    return Reduced(images, SIDE, cache).is_kept(number)  # type: ignore[arg-type]


def test_a_warm_cache_reads_no_file(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path / "cache", 1 << 30)
    cache.check()
    source = reduced(opened(photos), AUGMENTATION, cache)
    assert source is not None
    expected = [source.load(number) for number in range(16)]
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read"))
    assert all(same(source.load(number), expected[number]) for number in range(16))


def test_a_changed_file_is_noticed_and_a_moved_one_is_known(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    cache = Cache(tmp_path / "cache", 1 << 30)
    cache.check()
    source = Reduced(opened(tmp_path / "photos"), SIDE, cache)  # type: ignore[arg-type]
    before = source.load(0)
    expected, path = upright(photo(50, (600, 400)), side=SIDE), tmp_path / "photos" / "00.jpg"
    status, other = path.stat(), photo(50, (600, 400))
    path.write_bytes(other + bytes(max(0, status.st_size - len(other))))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as a copy that keeps times
    assert same(source.load(0), expected)
    assert not same(source.load(0), before)
    path.rename(tmp_path / "photos" / "moved.jpg")
    moved = Reduced(opened(tmp_path / "photos"), SIDE, cache)  # type: ignore[arg-type]
    number = next(n for n in range(17) if moved.images.name(n) == "moved.jpg")  # type: ignore[attr-defined]
    assert not moved.is_kept(number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.data.reduced.upright", lambda *a, **k: pytest.fail("decoded"))
        assert same(moved.load(number), expected)
    assert moved.is_kept(number)


def test_another_size_does_not_get_what_was_kept_for_this(photos: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 1 << 30)
    cache.check()
    images = opened(photos)
    for side in (155, 200, 155):
        assert min(Reduced(images, side, cache).load(0).size) == side  # type: ignore[arg-type]


def test_shards_are_kept_too(photos: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for path in sorted(photos.iterdir()):
            archive.add(path, path.name)
    images = data.open_images(f"tar:{tmp_path / 'a.tar'}")
    expected = views(images, None)
    cache = Cache(tmp_path / "cache", 1 << 30)
    assert torch.equal(views(images, cache), expected)
    assert [cache_has(images, cache, number) for number in range(17)] == [True] * 16 + [False]
    os.utime(tmp_path / "a.tar")
    assert not cache_has(images, cache, 0)
    assert torch.equal(views(images, cache), expected)


def test_small_images_make_no_cache(folder: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 1 << 30)
    assert torch.equal(views(opened(folder), cache), views(opened(folder), None))
    assert not (tmp_path / "cache").exists()


def test_images_in_memory_are_not_reduced() -> None:
    arrays = ArrayImages(np.zeros((8, 200, 200, 3), np.uint8), None)
    assert reduced(arrays, AUGMENTATION, None) is None
    assert shorter_side(Augmentation(AugmentConfig(kinds="a", crop_min_scale=1e-5), 512)) == 0


def test_broken_photographs_are_reported_with_a_cache_too(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    path = tmp_path / "photos" / "03.jpg"
    path.write_bytes(path.read_bytes()[:300])
    (tmp_path / "photos" / "05.jpg").write_bytes(b"")
    settings = {"batch_size": 8, "seed": 0, "start": 0, "device": CPU, "resident": "never", "workers": 0}
    cache = Cache(tmp_path / "cache", 1 << 30)
    for _ in range(2):
        stream = data.batches(opened(tmp_path / "photos"), AUGMENTATION, stop=10, reduce=True, cache=cache, **settings)
        assert {i for batch in stream for i in batch.broken} == {3, 5}


def test_views_look_like_those_of_whole_photographs() -> None:
    """Of a picture as fine as a photograph: noise on shapes."""
    rng = np.random.default_rng(0)
    coarse = np.asarray(picture(1, (1200, 900)), float)
    pixels = (coarse + rng.normal(0, 12, coarse.shape)).clip(0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=92)
    whole = upright(stream.getvalue())
    u = rng.random((2, 20, DRAWS))
    differences = []
    for image in (whole, upright(stream.getvalue(), side=SIDE)):
        sizes = np.full((2, 20), np.array(image.size, float)[:, None])
        drawn = AUGMENTATION.decide(u, *sizes)
        differences.append(np.stack([crop(image, box, False, 60) for box in drawn.boxes]).astype(float))
    assert np.abs(differences[0] - differences[1]).mean() < 2
