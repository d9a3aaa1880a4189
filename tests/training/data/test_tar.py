"""Shards: what they hold, in which order it is read, and what is said of shards that cannot be read."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.images import photo
from training import data
from training.augment import Augmentation
from training.config import AugmentConfig
from training.data import tar
from training.data.plan import Plan
from training.data.tar import TarImages, find_shards


def _write(path: Path, members: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 shards of 3 photos of two sizes, with labels."""
    root = tmp_path_factory.mktemp("shards")
    for shard in range(20):
        members: dict[str, bytes] = {"notes.md": b"no image"}
        for number in range(3 * shard, 3 * shard + 3):
            members[f"./a/{number:04d}.jpg"] = photo(number, size=(20 + number % 2, 18))
            members[f"./a/{number:04d}.cls"] = b"%d\n" % (number // 2 % 2)
            members[f"./a/{number:04d}.meta.json"] = b"{}"
        _write(root / f"train-{shard:03d}.tar", members)
    return root


def test_each_image_is_where_the_index_says(shards: Path) -> None:
    images = data.open_images(f"tar:{shards}/train-{{000..019}}.tar")
    assert len(images) == 60
    assert images.labels is None
    for index in (0, 1, 37, 59):
        expected = TarImages([shards / "train-000.tar"]).load(0) if index == 0 else None
        assert images.load(index).size == (20 + index % 2, 18)
        assert images.name(index) == f"train-{index // 3:03d}.tar: ./a/{index:04d}.jpg"
        assert expected is None or np.array_equal(np.asarray(images.load(0)), np.asarray(expected))
    assert images.fingerprint() == data.open_images(f"tar:{shards}/*.tar").fingerprint()
    assert images.fingerprint() != data.open_images(f"tar:{shards}/train-00*.tar").fingerprint()


def test_an_epoch_reads_each_image_once_a_few_shards_at_a_time(shards: Path) -> None:
    images = TarImages(find_shards(f"{shards}/*.tar"))
    plan = Plan(images, 6, seed=1)
    first, second = (np.concatenate([plan.indices(step) for step in steps]) for steps in (range(10), range(10, 20)))
    assert sorted(first) == sorted(second) == list(range(60))
    assert list(first) != list(second)
    for start, stop in ((0, 24), (24, 48), (48, 60)):
        assert len(set(first[start:stop] // 3)) == (stop - start) // 3  # whole shards
    assert (np.diff(first // 3) != 0).sum() > 40  # mixed among each other


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_from_shards_resumes_exactly(shards: Path, workers: int) -> None:
    images = data.open_images(f"tar:{shards}/*.tar")
    settings = {"batch_size": 8, "seed": 0, "device": torch.device("cpu"), "resident": "auto"}
    augmentation = Augmentation(AugmentConfig(), 16)
    whole = list(data.batches(images, augmentation, start=0, stop=16, workers=0, **settings))
    rest = list(data.batches(images, augmentation, start=9, stop=16, workers=workers, **settings))
    cpu = torch.device("cpu")
    assert all(torch.equal(a.views(cpu), b.views(cpu)) for a, b in zip(whole[9:], rest, strict=True))


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_few_descriptors_are_kept_and_none_is_pickled(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "_OPEN", 4)
    images = TarImages(find_shards(f"{shards}/*.tar"))
    before = _descriptors()
    loaded = [np.asarray(images.load(index)) for index in range(60)]
    assert _descriptors() <= before + 4
    copy = pickle.loads(pickle.dumps(images))
    assert copy._files == {}
    assert np.array_equal(copy.load(5), loaded[5])


def test_labels_come_from_cls_txt_or_json(shards: Path, tmp_path: Path) -> None:
    found = data.open_labelled(f"tar:{shards}/*.tar", bank_limit=10)
    assert set(found.bank.labels) == set(found.queries.labels) == {"0", "1"}  # every other image
    assert len(found.bank.labels) == 10
    assert len(found.queries.labels) == 10
    members = {"a.jpg": photo(0), "a.txt": b"cat", "b.jpg": photo(1), "b.json": b'{"label": 7}', "c.d.PNG": photo(2)}
    _write(tmp_path / "x.tar", members)
    with pytest.raises(ValueError, match=r"not labelled: .*x\.tar: c has neither"):
        data.open_labelled(f"tar:{tmp_path}/x.tar", bank_limit=10)
    _write(tmp_path / "x.tar", {**members, "c.cls": b"dog"})
    images = TarImages([tmp_path / "x.tar"], labelled=True)
    assert images.labels is not None
    assert list(images.labels) == ["cat", "7", "dog"]
    _write(tmp_path / "x.tar", {"a.jpg": photo(0), "a.json": b"[]"})
    with pytest.raises(ValueError, match=r"a\.json holds no label"):
        TarImages([tmp_path / "x.tar"], labelled=True)


def test_a_damaged_image_is_broken_and_no_more(shards: Path, tmp_path: Path) -> None:
    _write(tmp_path / "x.tar", {"a.jpg": photo(0), "b.jpg": photo(1)[:50], "c.jpg": photo(2), "d.jpg": b""})
    images = TarImages([tmp_path / "x.tar"])
    batch = next(
        iter(
            data.batches(
                images,
                Augmentation(AugmentConfig(), 16),
                batch_size=4,
                seed=0,
                start=0,
                stop=1,
                workers=0,
                device=torch.device("cpu"),
                resident="auto",
            )
        )
    )
    assert sorted(batch.broken) == [1, 3]


def test_shards_that_cannot_be_read_are_named(tmp_path: Path, shards: Path) -> None:
    _write(tmp_path / "packed.tar.gz", {"a.jpg": photo(0)}, "w:gz")
    _write(tmp_path / "empty.tar", {})
    _write(tmp_path / "text.tar", {"a.txt": b"cat"})
    (tmp_path / "noise.tar").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "cut.tar").write_bytes((shards / "train-000.tar").read_bytes()[:3000])
    whole = (shards / "train-000.tar").read_bytes()
    header = whole.index(b"./a/0001.jpg")
    (tmp_path / "bitten.tar").write_bytes(whole[:header] + b"?" + whole[header + 1 :])
    (tmp_path / "between.tar").write_bytes(whole[:header])
    (tmp_path / "joined.tar").write_bytes(whole + whole)
    for pattern, says in [
        ("bitten.tar", "the header at byte .* is damaged"),
        ("between.tar", "it is cut off"),
        ("joined.tar", "something follows its end"),
        ("packed.tar.gz", "cannot be read as an uncompressed tar"),
        ("noise.tar", "cannot be read as an uncompressed tar"),
        ("cut.tar", "cannot be read as an uncompressed tar"),
        ("empty.tar", "no images in"),
        ("text.tar", "no images in"),
        ("none-*.tar", "no file .*none-"),
        ("x-{1..2}.tar", "no file .*x-1.tar"),
    ]:
        with pytest.raises(ValueError, match=says):
            data.open_images(f"tar:{tmp_path}/{pattern}")


def test_members_without_a_name_are_skipped_and_odd_ones_named(tmp_path: Path) -> None:
    odd = b"caf\xe9.jpg".decode(errors="surrogateescape")
    _write(tmp_path / "x.tar", {"/": b"x", "": b"x", "..": b"x", odd: photo(0)})
    images = TarImages([tmp_path / "x.tar"])
    assert [images.name(index) for index in range(len(images))] == [r"x.tar: caf\xe9.jpg"]
    assert images.load(0).size == Image.open(io.BytesIO(photo(0))).size
    assert len(images.fingerprint()) == 64


def test_a_member_larger_than_any_image_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "x.tar", {"a.jpg": photo(0), "a.cls": b"0", "b.jpg": photo(1) + bytes(10**5), "b.cls": b"1"})
    monkeypatch.setattr(tar, "_LARGEST", 10**5)
    before = _descriptors()
    images = TarImages([tmp_path / "x.tar"], labelled=True)
    assert _descriptors() == before
    images.load(0)
    with pytest.raises(OSError, match="no image"):
        images.load(1)


def test_patterns(tmp_path: Path) -> None:
    for name in ("a-08.tar", "a-09.tar", "a-10.tar", "b-08.tar"):
        (tmp_path / name).touch()
    for pattern, names in [
        ("a-{08..10}.tar", ["a-08.tar", "a-09.tar", "a-10.tar"]),
        ("{a,b}-08.tar", ["a-08.tar", "b-08.tar"]),
        ("{a,b}-{08..08}.tar", ["a-08.tar", "b-08.tar"]),
        ("a-0?.tar", ["a-08.tar", "a-09.tar"]),
        ("{a,b}-*.tar", ["a-08.tar", "a-09.tar", "a-10.tar", "b-08.tar"]),
    ]:
        assert [path.name for path in find_shards(f"{tmp_path}/{pattern}")] == names


def test_hidden_members_are_no_samples(tmp_path: Path) -> None:
    _write(tmp_path / "a.tar", {"1.jpg": photo(1), "._1.jpg": b"\0\5\x16\7", "2.jpg": photo(2), "._2.cls": b"1"})
    images = TarImages([tmp_path / "a.tar"])
    assert images.names == ["1.jpg", "2.jpg"]
    assert images.note.startswith("1 files that end like images were left out")


def test_halves_without_a_class_in_common_are_refused(tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for number in range(6):
        members |= {f"{number}.jpg": photo(number), f"{number}.cls": b"%d" % number}
    _write(tmp_path / "a.tar", members)
    with pytest.raises(ValueError, match="no class has images in both: each class needs two images or more"):
        data.open_labelled(f"tar:{tmp_path / 'a.tar'}", bank_limit=100)
