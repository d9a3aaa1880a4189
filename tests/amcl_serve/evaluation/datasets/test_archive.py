"""Archives of strangers: what is unpacked, and that nothing is written elsewhere."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from amcl_serve.errors import InvalidRequest, TooLarge
from amcl_serve.evaluation.datasets import Limits, open_archive

Files = dict[str, bytes]


def as_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def as_tar(path: Path, files: Files) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


both = pytest.mark.parametrize("pack", [as_zip, as_tar])
Pack = Callable[[Path, Files], Path]


@both
def test_a_folder_of_classes(tmp_path: Path, pack: Pack) -> None:
    path = pack(tmp_path / "photos.bin", {"photos/a/1.png": b"one", "photos/b/2.png": b"two", "photos/readme.txt": b""})
    found = open_archive(path, tmp_path / "into")
    assert (list(found.names), found.labels) == (["a/1.png", "b/2.png"], ["a", "b"])
    assert found.read(1) == b"two"
    assert found.name == "photos.bin"


@both
def test_pairs_in_an_archive(tmp_path: Path, pack: Pack) -> None:
    path = pack(tmp_path / "p", {"1.png": b"one", "2.png": b"two", "pairs.csv": b"a,b,same\n1.png,2.png,0\n"})
    assert open_archive(path, tmp_path / "into").pairs is not None
    outside = pack(tmp_path / "q", {"1.png": b"one", "pairs.csv": b"a,b,same\n1.png,../../p,0\n"})
    with pytest.raises(InvalidRequest, match="leads out"):
        open_archive(outside, tmp_path / "other")


@both
@pytest.mark.parametrize(
    "name", ["../evil.png", "a/../../evil.png", "/tmp/evil-of-a-test.png", "a\\..\\..\\evil.png", "C:\\evil.png"]
)
def test_names_that_lead_out_are_refused(tmp_path: Path, pack: Pack, name: str) -> None:
    path = pack(tmp_path / "evil", {"a/1.png": b"x", name: b"evil"})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InvalidRequest):
        open_archive(path, tmp_path / "into")
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "into"])
    assert not Path("/tmp/evil-of-a-test.png").exists()


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        with tarfile.open(tmp_path / "links.tar", "w") as archive:
            member = tarfile.TarInfo("a/1.png")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        with pytest.raises(InvalidRequest, match="link or a device"):
            open_archive(tmp_path / "links.tar", tmp_path / "into")
    info = zipfile.ZipInfo("a/1.png")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "links.zip", "w") as packed:
        packed.writestr(info, "/etc/passwd")
    with pytest.raises(InvalidRequest, match="link or a device"):
        open_archive(tmp_path / "links.zip", tmp_path / "into")
    assert not any((tmp_path / "into").iterdir())


@both
@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(files=2), "more than 2 files"),
        (Limits(file_bytes=100), "a file of more than 100 bytes"),
        (Limits(total_bytes=100_000), "unpacks to more than 100000"),
        (Limits(ratio=1.0), "unpacks to more than 65536"),
    ],
)
def test_limits(tmp_path: Path, pack: Pack, limits: Limits, message: str) -> None:
    path = pack(tmp_path / "bomb", {f"{index}.png": bytes(60_000) for index in range(3)})
    assert path.stat().st_size < 2000
    with pytest.raises(TooLarge, match=message):
        open_archive(path, tmp_path / "into", limits)
    assert not any((tmp_path / "into").iterdir())


def test_a_zip_whose_header_lies_is_still_bounded(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "lies.zip", {"1.png": bytes(300_000)})
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = (10).to_bytes(4, "little")
    path.write_bytes(bytes(data))
    with pytest.raises((InvalidRequest, TooLarge)):
        open_archive(path, tmp_path / "into", Limits(file_bytes=1000))
    assert not any((tmp_path / "into").iterdir())


@pytest.mark.parametrize("data", [b"", b"no archive at all", b"PK\x03\x04 cut off"])
def test_what_is_no_archive_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(InvalidRequest):
        open_archive(tmp_path / "x.zip", tmp_path / "into")


@both
def test_damaged_archives_are_named(tmp_path: Path, pack: Pack) -> None:
    path = pack(tmp_path / "cut", {f"{i}.png": bytes(range(256)) * 40 for i in range(20)})
    data = path.read_bytes()
    for cut in (len(data) // 3, len(data) // 2, 2 * len(data) // 3):
        path.write_bytes(data[:cut])
        with pytest.raises(InvalidRequest):
            open_archive(path, tmp_path / "into")
        assert not any((tmp_path / "into").iterdir())


def test_the_folder_has_to_be_empty_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    (tmp_path / "into" / "mine").write_text("kept")
    path = as_zip(tmp_path / "a.zip", {"1.png": b"x"})
    with pytest.raises(InvalidRequest, match="not empty"):
        open_archive(path, tmp_path / "into")
    assert (tmp_path / "into" / "mine").read_text() == "kept"
    with pytest.raises(InvalidRequest, match="two members"):
        open_archive(as_zip(tmp_path / "b.zip", {"1.png": b"x", "./1.png": b"y"}), tmp_path / "other")


def test_folders_count_apart(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / "photos" / str(number)).mkdir(parents=True)
        (tmp_path / "photos" / str(number) / "1.png").write_bytes(b"one")
    with tarfile.open(tmp_path / "p.tar", "w") as archive:
        archive.add(tmp_path / "photos", "photos")  # three folders, two files
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as zipped:
        for path in sorted((tmp_path / "photos").rglob("*")):
            zipped.write(path, path.relative_to(tmp_path))
    for name in ("p.tar", "p.zip"):
        assert len(open_archive(tmp_path / name, tmp_path / f"of {name}", Limits(files=3)).names) == 2
    with pytest.raises(TooLarge, match="more than 2 folders"):
        open_archive(tmp_path / "p.tar", tmp_path / "again", Limits(files=2))
