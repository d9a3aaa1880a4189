"""Images to judge by: with labels or without, and which of them are trained on."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.images import photo
from training import data


def write(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_labels_are_taken_where_there_are_any(folder: Path) -> None:
    found = data.open_held_out(f"folder:{folder}", bank_limit=100)
    assert found.labelled is not None
    assert found.images is found.labelled.queries
    assert not found.note


def test_without_labels_all_images_of_any_tree_are_held_out(folder: Path, tmp_path: Path) -> None:
    found = data.open_held_out(f"folder:{folder / 'class0'}", bank_limit=3)
    assert found.labelled is None
    assert len(found.images.indices) == 8
    assert "not labelled" in found.note
    for number in range(4):  # folders, but none with two images
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}" / "x.jpg").write_bytes(photo(number))
    each = data.open_held_out(f"folder:{tmp_path}", bank_limit=3)
    assert each.labelled is None
    assert len(each.images.indices) == 4


def test_of_train_and_val_without_labels_val_is_held_out(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "class0", tmp_path / "train")
    shutil.copytree(folder / "class1", tmp_path / "val")
    found = data.open_held_out(f"folder:{tmp_path}", bank_limit=100)
    assert found.labelled is None
    assert len(found.images.indices) == 8
    assert data.shared(data.open_images(f"folder:{tmp_path / 'train'}"), found.images) == 0
    assert data.shared(data.open_images(f"folder:{tmp_path}"), found.images) == 8


def test_shards_without_labels_are_held_out_but_one_missing_label_is_an_error(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.tar", {f"{n}.jpg": photo(n) for n in range(4)})
    found = data.open_held_out(f"tar:{plain}", bank_limit=100)
    assert found.labelled is None
    assert len(found.images.indices) == 4
    other = write(tmp_path / "other.tar", {"x.jpg": photo(9)})
    trained = data.open_images(f"tar:{plain}")
    assert data.shared(trained, found.images) == 4
    assert data.shared(data.open_images(f"tar:{other}"), found.images) == 0
    assert data.shared(data.open_images(f"tar:{tmp_path}/*.tar"), found.images) == 4
    mixed = write(tmp_path / "mixed.tar", {"a.jpg": photo(0), "a.cls": b"cat", "b.jpg": photo(1)})
    with pytest.raises(ValueError, match="b has neither"):
        data.open_held_out(f"tar:{mixed}", bank_limit=100)


@pytest.mark.parametrize(
    ("spec", "says"), [("folder:{}/none", "not a folder"), ("folder:{}", "no images"), ("x", "no data")]
)
def test_what_holds_no_images_is_an_error(spec: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says):
        data.open_held_out(spec.format(tmp_path), bank_limit=10)
