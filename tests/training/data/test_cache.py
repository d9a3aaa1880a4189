"""The file that processes share: whole entries or none, a bound, and nothing that goes wrong ends a run."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data import Cache

GIB = 1 << 30


def image(number: int, side: int = 64) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (side, side + 8, 3), np.uint8))


def name(number: int) -> bytes:
    return number.to_bytes(16)


def cached(folder: Path, limit: int = GIB) -> Cache:
    cache = Cache(folder / "cache", limit)
    cache.check()
    return cache


def fill(cache: Cache, numbers: range, side: int = 64) -> None:
    for number in numbers:
        cache.keep(name(number), name(number), image(number, side))


def found(cache: Cache, numbers: range, side: int = 64) -> int:
    """How many of the images the cache has, each of which must be the right one."""
    images = {number: cache.find(name(number)) for number in numbers}
    assert all(each is None or each == image(number, side) for number, each in images.items())
    return sum(each is not None for each in images.values())


def test_an_image_is_found_by_stamp_and_by_content(tmp_path: Path) -> None:
    cache = cached(tmp_path)
    cache.keep(b"content", b"stamp", image(1))
    assert cache.find(b"stamp") == image(1)
    assert cache.find(b"other") is None
    assert cache.find_content(b"none", b"other") is None
    assert cache.find_content(b"content", b"other") == image(1)  # the file has moved
    assert cache.find(b"other") == image(1)


def test_what_killed_writers_leave_is_whole(tmp_path: Path) -> None:
    """Two writers at once, killed anywhere within a write; what is found is right, and the next go on."""
    cache = Cache(tmp_path / "cache", GIB)
    cache.check()
    for begin in range(0, 8_000_000, 2_000_000):
        parts = [range(first, first + 1_000_000) for first in (begin, begin + 1_000_000)]  # more than is ever written
        writers = [multiprocessing.get_context("fork").Process(target=fill, args=(cache, part)) for part in parts]
        for writer in writers:
            writer.start()
        deadline = time.monotonic() + 60
        while not all(found(cache, part[:1]) for part in parts):
            assert time.monotonic() < deadline
        cache.close()  # the next writers inherit nothing
        time.sleep(random.random() / 10)
        for writer in writers:
            writer.kill()
            writer.join()
        for part in parts:
            kept = next(count for count, number in enumerate(part) if cache.find(name(number)) is None)
            assert kept > 0
            assert found(cache, part[:kept]) == kept
            assert found(cache, part[kept : kept + 100]) == 0
        cache.close()


def test_processes_share_it_and_a_fork_opens_its_own(tmp_path: Path) -> None:
    cache = cached(tmp_path)
    fill(cache, range(5))
    child = os.fork()
    if not child:
        try:
            fill(cache, range(5, 10))
            os._exit(0 if found(cache, range(10)) == 10 else 1)
        except BaseException:
            os._exit(2)
    fill(cache, range(10, 15))
    assert os.waitpid(child, 0)[1] == 0
    assert found(cache, range(15)) == 15


def test_it_is_bounded_whoever_writes_and_keeps_what_it_has(tmp_path: Path) -> None:
    limit = 1 << 20
    for _ in range(2):
        cache = cached(tmp_path, limit)
        fill(cache, range(200))
        cache.close()
        assert cache.path.stat().st_size <= limit
    kept = found(cache, range(200))
    assert kept * 64 * 72 * 3 > 0.7 * limit
    assert found(cache, range(kept)) == kept  # the first that came
    assert cache.room() < 2 * 64 * 72 * 3
    larger = cached(tmp_path, 2 * limit)
    fill(larger, range(200))
    assert found(larger, range(200)) > 1.7 * kept


def test_it_leaves_the_disk_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = cached(tmp_path)
    usage = type("Usage", (), {"free": 1 << 30})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    fill(cache, range(2))
    assert found(cache, range(2)) == 0
    assert cache.room() == 0


def test_what_the_disk_has_spoilt_is_missing_and_then_replaced(tmp_path: Path) -> None:
    cache = cached(tmp_path)
    fill(cache, range(2))
    with sqlite3.connect(cache.path) as other:
        rgb = bytearray(image(0).tobytes())
        rgb[100] ^= 1
        other.execute("UPDATE pixels SET rgb = ? WHERE key = ?", (bytes(rgb), name(0)))
    assert found(cache, range(2)) == 1
    fill(cache, range(1))
    assert found(cache, range(2)) == 2


def test_a_file_that_is_damaged_later_costs_no_run(tmp_path: Path) -> None:
    cache = cached(tmp_path)
    fill(cache, range(2))
    cache.close()
    cache.path.write_bytes(b"no database" * 1000)
    assert found(cache, range(2)) == 0
    fill(cache, range(2))
    with pytest.raises(ValueError, match=r"cannot be used \(.*; delete it, or give another folder"):
        cache.check()


def test_a_folder_that_is_deleted_costs_no_run(tmp_path: Path) -> None:
    cache = cached(tmp_path)
    fill(cache, range(2))
    shutil.rmtree(tmp_path / "cache")
    fill(cache, range(2, 4))
    assert found(cache, range(2, 4)) == 0
    cache.close()
    assert found(cache, range(4)) == 0


def test_what_is_no_folder_or_cannot_be_written_to_says_so(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ValueError, match=r"file is a file; give a folder"):
        Cache(file, GIB).check()
    with pytest.raises(ValueError, match=r"cannot be made: Not a directory"):
        Cache(file / "cache", GIB).check()
    with pytest.raises(ValueError, match="cannot be made: "):
        Cache(Path("/proc/cache"), GIB).check()
