"""Which images a folder holds, and what its folders say of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from amcl_serve.errors import InvalidRequest, UnreadableFile
from amcl_serve.evaluation.datasets import open_folder


def made(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_first_folders_are_classes(tmp_path: Path) -> None:
    found = open_folder(made(tmp_path, "b/deep/2.png", "a/1.jpg", "notes.txt", ".hidden/3.png"))
    assert list(found.names) == ["a/1.jpg", "b/deep/2.png"]
    assert found.labels == ["a", "b"]
    assert found.queries is None
    assert found.read(0) == b"x"
    assert open_folder(tmp_path, labels=False).labels is None


@pytest.mark.parametrize("names", [("a/1.png", "a/2.png"), ("a/1.png", "b/2.png", "3.png")])
def test_one_class_or_images_beside_the_folders_are_no_labels(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert open_folder(made(tmp_path, *names)).labels is None


@pytest.mark.parametrize(("bank", "held"), [("train", "val"), ("bank", "query"), ("train", "test")])
def test_two_halves_are_a_bank_and_queries(tmp_path: Path, bank: str, held: str) -> None:
    root = made(tmp_path, f"{bank}/a/1.png", f"{bank}/b/2.png", f"{held}/a/3.png")
    found = open_folder(root)
    by_name = dict(zip(found.names, zip(found.labels or [], found.queries, strict=True), strict=True))  # type: ignore[arg-type]
    assert by_name == {f"{bank}/a/1.png": ("a", False), f"{bank}/b/2.png": ("b", False), f"{held}/a/3.png": ("a", True)}


def test_what_is_no_folder_and_what_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no folder"):
        open_folder(tmp_path / "nowhere")
    with pytest.raises(InvalidRequest, match="no images"):
        open_folder(tmp_path)
    found = open_folder(made(tmp_path, "1.png"))
    (tmp_path / "1.png").unlink()
    with pytest.raises(UnreadableFile, match="cannot be read"):
        found.read(0)
