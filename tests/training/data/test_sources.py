"""torchvision's data sets, from small files in their own binary formats."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR10, CIFAR100, STL10, VisionDataset

from training import data

RNG = np.random.default_rng(0)


def _cifar(root: Path, folder: str, splits: dict[str, int], meta: str, names: str, target: str, classes: int) -> None:
    base = root / folder
    base.mkdir()
    for file, count in splits.items():
        rows = RNG.integers(0, 256, (count, 3072), dtype=np.uint8)
        (base / file).write_bytes(pickle.dumps({"data": rows, target: [i % classes for i in range(count)]}))
    (base / meta).write_bytes(pickle.dumps({names: [f"class {i}" for i in range(classes)]}))


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are not the published ones, so their checksums are not compared."""
    for cls in (CIFAR10, CIFAR100, STL10):
        monkeypatch.setattr(cls, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)


@pytest.mark.parametrize("kind", ["cifar10", "cifar100"])
@pytest.mark.usefixtures("unchecked")
def test_cifar(tmp_path: Path, kind: str) -> None:
    if kind == "cifar10":
        splits = {f"data_batch_{i}": 4 for i in range(1, 6)} | {"test_batch": 6}
        _cifar(tmp_path, "cifar-10-batches-py", splits, "batches.meta", "label_names", "labels", 10)
    else:
        splits = {"train": 20, "test": 6}
        _cifar(tmp_path, "cifar-100-python", splits, "meta", "fine_label_names", "fine_labels", 100)
    images = data.open_images(f"{kind}:{tmp_path}")
    assert len(images) == 20
    assert images.load(3).size == (32, 32)
    found = data.open_labelled(f"{kind}:{tmp_path}", bank_limit=5)
    assert list(found.queries.labels) == [f"class {i}" for i in range(6)]
    assert len(found.bank.labels) == 5


@pytest.mark.usefixtures("unchecked")
def test_stl10_is_learnt_from_unlabelled_and_evaluated_on_labelled(tmp_path: Path) -> None:
    base = tmp_path / "stl10_binary"
    base.mkdir()
    counts = {"train": 4, "test": 3, "unlabeled": 5}
    pixels = {split: RNG.integers(0, 256, (count, 3, 96, 96), dtype=np.uint8) for split, count in counts.items()}
    for split, array in pixels.items():
        (base / f"{split}_X.bin").write_bytes(array.transpose(0, 1, 3, 2).tobytes())  # column by column
        if split != "unlabeled":
            (base / f"{split}_y.bin").write_bytes(bytes([1, 2, 1, 2][: counts[split]]))
    (base / "class_names.txt").write_text("airplane\nbird\n")
    (base / "fold_indices.txt").write_text("0 1\n")
    images = data.open_images(f"stl10:{tmp_path}")
    assert len(images) == 9
    assert images.labels is None
    np.testing.assert_array_equal(np.asarray(images.load(0)), pixels["train"][0].transpose(1, 2, 0))
    np.testing.assert_array_equal(np.asarray(images.load(4)), pixels["unlabeled"][0].transpose(1, 2, 0))
    found = data.open_labelled(f"stl10:{tmp_path}", bank_limit=10)
    assert list(found.bank.labels) == ["airplane", "bird", "airplane", "bird"]
    assert list(found.queries.labels) == ["airplane", "bird", "airplane"]


@pytest.mark.parametrize(
    ("kind", "cls", "name"),
    [("cifar10", CIFAR10, "CIFAR-10"), ("cifar100", CIFAR100, "CIFAR-100"), ("stl10", STL10, "STL-10")],
)
def test_what_cannot_be_downloaded_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, cls: type[VisionDataset], name: str
) -> None:
    def unreachable(_self: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(cls, "download", unreachable)
    with pytest.raises(ValueError, match=f"no {name} under .* cannot be downloaded: no network"):
        data.open_images(f"{kind}:{tmp_path}")
