"""Folders as people have them: what is an image of theirs, once each, for every command alike."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from amcl_serve.commands.bulk.files import walk
from amcl_serve.commands.index import find_images
from amcl_serve.errors import StartupError
from amcl_serve.model.image_files import SYSTEM_FOLDERS, ImageFiles
from tests.images import photo
from training.data import FolderImages, list_images


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(photo(len(name)))
    return root


def found(root: Path) -> tuple[list[str], int]:
    files = ImageFiles(root)
    return [path.relative_to(root).as_posix() for path in files], files.left_out


def test_files_by_name_then_folders_by_name(tmp_path: Path) -> None:
    make(tmp_path, "b.jpg", "a.PNG", "z/1.jpg", "c/2.tiff", "c/a/3.gif", "notes.txt", "jpg", "d.jpg/4.webp")
    assert found(tmp_path) == (["a.PNG", "b.jpg", "c/2.tiff", "c/a/3.gif", "d.jpg/4.webp", "z/1.jpg"], 0)


def test_what_is_hidden_or_of_the_system_is_left_out_and_counted(tmp_path: Path) -> None:
    odd = [f"{folder}/x.jpg" for folder in SYSTEM_FOLDERS] + [
        ".hidden/x.jpg",
        ".hidden/deep/y.jpg",
        "._a.jpg",
        ".b.png",
    ]
    make(tmp_path, "a.jpg", "b/c.jpg", "b/._c.jpg", "b/@eaDir/c.jpg/SYNO.jpg", *odd)
    assert found(tmp_path) == (["a.jpg", "b/c.jpg"], len(odd) + 2)


def test_each_file_comes_once_however_links_lead_to_it(tmp_path: Path) -> None:
    root = make(tmp_path / "root", "a.jpg", "sub/b.jpg")
    outside = make(tmp_path / "outside", "c.jpg", "deep/d.jpg")
    (root / "sub" / "up").symlink_to(root)  # a circle
    (root / "again").symlink_to(root / "sub")
    (root / "link.jpg").symlink_to(root / "a.jpg")
    os.link(root / "a.jpg", root / "hard.jpg")
    (root / "x").symlink_to(outside)
    (root / "y").symlink_to(outside / "deep")
    (outside / "back").symlink_to(root)
    assert found(root) == (["a.jpg", "sub/b.jpg", "x/c.jpg", "x/deep/d.jpg"], 3)  # link.jpg, hard.jpg, y's d.jpg


def test_a_link_to_nothing_is_a_file_that_whoever_reads_it_misses(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert found(tmp_path) == (["a.jpg", "gone.jpg"], 0)


def test_the_folder_itself_may_be_a_link_or_hidden(tmp_path: Path) -> None:
    root = make(tmp_path / ".photos", "a.jpg")
    (tmp_path / "link").symlink_to(root)
    assert found(root) == found(tmp_path / "link") == (["a.jpg"], 0)


def test_embed_index_and_training_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make(tmp_path / "root", "b.jpg", "a/x.jpg", "a/._x.jpg", "__MACOSX/y.jpg")
    (root / "a" / "loop").symlink_to(root)
    expected = ["a/x.jpg", "b.jpg"]
    assert sorted(path.relative_to(root).as_posix() for path in walk(root)) == expected
    assert "2 files that end like images were left out" in capsys.readouterr().err
    assert find_images(root) == expected
    assert [path.relative_to(root).as_posix() for path in list_images(root)] == expected
    images = FolderImages(root)
    assert images.names == expected
    assert images.note.startswith("2 files")


def test_a_folder_of_hidden_files_alone_says_so(tmp_path: Path) -> None:
    root = make(tmp_path, "._a.jpg")
    with pytest.raises(StartupError, match=r"holds no images.*1 files that end like images were left out"):
        list(walk(root))
    with pytest.raises(ValueError, match=r"no images under.*1 files that end like images were left out"):
        FolderImages(root)


def test_a_fingerprint_covers_sizes(tmp_path: Path) -> None:
    root = make(tmp_path, "a.jpg", "b.jpg")
    before = FolderImages(root).fingerprint()
    assert FolderImages(root).fingerprint() == before
    (root / "a.jpg").write_bytes(photo(1) + b"more")
    assert FolderImages(root).fingerprint() != before
