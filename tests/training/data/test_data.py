from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from amcl_serve.model.bundle import InputSpec
from amcl_serve.model.pixels import decode
from tests.images import cmyk_jpeg, grey16_png, one_pixel, oriented, palette_transparent
from training import data


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    for orientation in (1, 6):
        (tmp_path / f"{orientation}.jpg").write_bytes(oriented(1, orientation, format="JPEG"))
    images = data.open_images(f"folder:{tmp_path}")
    upright, turned = (np.asarray(images.load(i), float) for i in range(2))
    assert upright.shape == turned.shape
    assert np.abs(upright - turned).mean() < 8


def test_labels_are_folder_names_and_splits_are_kept_apart(folder: Path, tmp_path: Path) -> None:
    plain = data.open_labelled(f"folder:{folder}", bank_limit=100)
    assert len(plain.bank.labels) == len(plain.queries.labels) == 12
    assert not set(plain.bank.indices) & set(plain.queries.indices)
    shutil.copytree(folder, tmp_path / "train")
    shutil.copytree(folder, tmp_path / "val")
    few = data.open_labelled(f"folder:{folder}", bank_limit=5)
    assert len(few.bank.labels) == len(few.queries.labels) == 5
    split = data.open_labelled(f"folder:{tmp_path}", bank_limit=10)
    assert len(split.bank.labels) == 10
    assert len(split.queries.labels) == 24


def test_wrong_folders_are_named(tmp_path: Path, folder: Path) -> None:
    for spec, says in [
        (f"folder:{tmp_path}/none", "not a folder"),
        (f"folder:{tmp_path}", "no images"),
        ("imagenet:here", "no data specification"),
        ("folder:", "no data specification"),
    ]:
        with pytest.raises(ValueError, match=says):
            data.open_images(spec)
    with pytest.raises(ValueError, match="not labelled"):
        data.open_labelled(f"folder:{folder}/class0", bank_limit=10)


def test_labels_are_the_first_level_of_folders(tmp_path: Path) -> None:
    for name in ("train/cat/deep/a", "train/dog/b", "test/cat/c", "test/dog/images/d"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(one_pixel())
    found = data.open_labelled(f"folder:{tmp_path}", bank_limit=10)
    assert list(found.bank.labels) == list(found.queries.labels) == ["cat", "dog"]
    shutil.rmtree(tmp_path / "test" / "dog")
    with pytest.raises(ValueError, match="not labelled"):
        data.open_labelled(f"folder:{tmp_path}", bank_limit=10)


@pytest.mark.parametrize("make", [grey16_png, palette_transparent, cmyk_jpeg])
def test_odd_files_are_seen_as_the_server_sees_them(make: Callable[[], bytes], tmp_path: Path) -> None:
    (tmp_path / "odd.img.png").write_bytes(make())
    seen, good = data.Plain(data.FolderImages(tmp_path), np.array([0]), 16)[0]
    assert good
    np.testing.assert_array_equal(seen.numpy(), decode(make(), InputSpec(size=16), max_pixels=10**6))


def test_the_fingerprint_follows_the_names(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "images")
    same = data.open_images(f"folder:{folder}").fingerprint()
    assert data.open_images(f"folder:{tmp_path}/images").fingerprint() == same
    data.list_images(tmp_path / "images")[0].unlink()
    assert data.open_images(f"folder:{tmp_path}/images").fingerprint() != same


def test_names_that_are_not_utf8_are_read_and_escaped(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"b\xe9")
    odd.mkdir()
    for name in (b"\xff.png", b"a.png"):
        (odd / os.fsdecode(name)).write_bytes(one_pixel())
    images = data.open_images(f"folder:{tmp_path}")
    assert {images.name(index) for index in range(2)} == {r"b\xe9/\xff.png", r"b\xe9/a.png"}
    assert images.load(0).size == images.load(1).size == (1, 1)
    assert len(images.fingerprint()) == 64
