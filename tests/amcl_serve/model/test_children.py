"""Decoding in child processes: what becomes of the image, of its neighbours and of the child."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from PIL import Image

from amcl_serve.errors import AmclError, UndecodableImage, UnsupportedImage
from amcl_serve.model.children import frames, process
from amcl_serve.model.children.pool import Pool, shared
from amcl_serve.model.formats.reading import Wanted
from amcl_serve.model.formats.turns import Turns
from amcl_serve.model.pixels import decode
from benchmarks.processes import ROOT
from tests import images
from tests.amcl_serve.model.decoded import RED, SPEC, is_colour, pixels
from tests.images import photo, picture, save

WANTED = Wanted(16, False, 10**6, False)
BMP, TIFF = photo(3, format="BMP"), photo(3, format="TIFF")
# A child that reads as told, in place of decoding: the file's bytes are the order.
ORDERS = """
import json, os, signal, sys, time
sys.path[:] = json.loads(sys.argv[1])
from amcl_serve.model.children import child
def read(data, kind, wanted, take, *, in_child):
    exec(data[2:].decode())
child.read = read
child.main()
"""


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool(2)
    yield pool
    pool.close()


@pytest.fixture
def orders(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> Pool:
    """A pool whose children do what a file says."""
    monkeypatch.setattr(process, "_BOOT", ORDERS)
    return pool


def order(pool: Pool, code: str, wanted: Wanted = WANTED) -> None:
    pool.read(b"BM" + code.encode(), wanted)


def gone(pid: int) -> bool:
    for _ in range(200):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_one_child_reads_one_file_after_the_other(pool: Pool) -> None:
    first = np.asarray(pool.read(BMP, WANTED))
    (pid,) = pool.pids()
    assert (np.asarray(pool.read(TIFF, WANTED)) == first).all()
    with pytest.raises(UndecodableImage):
        pool.read(TIFF[:300], WANTED)
    assert pool.pids() == [pid]
    assert pool.lost == 0


def test_whole_images_come_back_at_their_own_size(pool: Pool) -> None:
    image = picture(1, (700, 500))
    found = pool.read(save(image, "TIFF"), Wanted(0, False, 10**6, False))
    assert (np.asarray(found) == np.asarray(image)).all()


def test_a_crash_costs_one_image_and_the_child_is_replaced(orders: Pool) -> None:
    with pytest.raises(UndecodableImage, match="ended the process"):
        order(orders, "os.kill(os.getpid(), signal.SIGSEGV)")
    assert orders.lost == 1
    assert orders.pids() == []
    with pytest.raises(UndecodableImage, match="damaged"):
        order(orders, "from amcl_serve.errors import UndecodableImage; raise UndecodableImage('damaged')")
    assert orders.lost == 1


@pytest.mark.parametrize("answer", ["b''", "b'\\0' * 17", "b'\\1' + b'\\xff' * 16", "b'\\1' + b'\\0' * 15 + b'\\2{}'"])
def test_a_child_that_talks_nonsense_is_no_danger(orders: Pool, answer: str) -> None:
    """Nor is what it sends believed: sizes that were not asked for, errors that are none."""
    with pytest.raises(UndecodableImage):
        order(orders, f"os.write(4, {answer}); os._exit(0)")


def test_a_child_that_asks_for_more_turns_than_one_is_no_danger(orders: Pool) -> None:
    with pytest.raises(UndecodableImage):
        order(orders, f"os.write(4, {2 * frames.waiting(5)!r}); time.sleep(60)")
    assert orders.lost == 1


def test_a_large_image_waits_for_its_turn_and_meanwhile_no_clock_runs(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever holds it, a thread of the process itself or another child."""
    turns = Turns(most=5_000_000)
    monkeypatch.setattr("amcl_serve.model.children.pool.TURNS", turns)
    monkeypatch.setattr(process, "clock_seconds", lambda _: 2.0)
    large = save(Image.new("RGB", (2100, 2000), RED), "GIF")
    wanted = Wanted(16, False, 10**7, False)
    pool.read(BMP, WANTED)  # the child has started
    with ThreadPoolExecutor(1) as executor:
        with turns.one() as take:
            take(4_500_000)
            waiting = executor.submit(pool.read, large, wanted)
            time.sleep(2.5)
            assert not waiting.done()
            pool.read(BMP, WANTED)  # a small one waits for nobody
        assert is_colour(np.asarray(waiting.result(30)).astype(np.int64), RED, 3)
    assert pool.lost == 0


def test_a_child_that_hangs_is_ended_in_time(orders: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "clock_seconds", lambda _: 0.5)
    start = time.monotonic()
    with pytest.raises(UndecodableImage, match="in the time"):
        order(orders, "time.sleep(60)")
    assert time.monotonic() - start < 10
    assert orders.pids() == []


def test_memory_is_bounded(orders: Pool) -> None:
    """What malloc refuses ends as an error, here of the child itself, as no decoder makes a sentence of it."""
    with pytest.raises(UndecodableImage, match="ended the process"):
        order(orders, "bytearray(600 << 20)")
    roomy = Wanted(16, False, 64_000_000, False)
    with pytest.raises(UnsupportedImage, match="enough"):
        order(
            orders,
            "bytearray(600 << 20); from amcl_serve.errors import UnsupportedImage; raise UnsupportedImage('enough')",
            roomy,
        )


def test_processor_time_is_bounded(orders: Pool) -> None:
    code = "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass"
    with pytest.raises(UndecodableImage, match="ended the process"):
        order(orders, code)


def test_an_idle_child_that_died_is_replaced_without_an_error(pool: Pool) -> None:
    pool.read(BMP, WANTED)
    (pid,) = pool.pids()
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    pool.read(BMP, WANTED)
    assert pool.pids() != [pid]
    assert pool.lost == 0


def test_children_are_no_more_than_the_pool_allows(pool: Pool) -> None:
    most = 0
    with ThreadPoolExecutor(8) as threads:
        for _ in threads.map(lambda _: pool.read(BMP, WANTED), range(60)):
            most = max(most, len(pool.pids()))
    assert 1 <= most <= 2


def test_threads_get_their_own_images(pool: Pool) -> None:
    files = [photo(seed, format="TIFF") for seed in range(12)]
    alone = [np.asarray(pool.read(data, WANTED)) for data in files]
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda i: np.asarray(pool.read(files[i % 12], WANTED)), range(96)))
    assert all((found[i] == alone[i % 12]).all() for i in range(96))


def test_no_key_of_the_environment_reaches_a_child(orders: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMCL_API_KEY", "secret")
    told = "from amcl_serve.errors import UnsupportedImage; raise UnsupportedImage(str(sorted(os.environ)))"
    with pytest.raises(UnsupportedImage) as found:
        order(orders, told)
    assert "AMCL_API_KEY" not in found.value.detail


def test_a_child_imports_no_server(orders: Pool) -> None:
    servers = {"fastapi", "onnxruntime", "pydantic", "httpx", "torch", "faiss"}
    told = f"from amcl_serve.errors import UnsupportedImage; raise UnsupportedImage(str({servers} & set(sys.modules)))"
    with pytest.raises(UnsupportedImage) as found:
        order(orders, told)
    assert found.value.detail == "set()"


def test_a_child_that_cannot_start_is_no_fault_of_the_image(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_BOOT", "raise SystemExit(1)")
    with pytest.raises(AmclError, match="failed to start") as found:
        pool.read(BMP, WANTED)
    assert found.value.code == "internal_error"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_children_end_with_their_parent(number: signal.Signals) -> None:
    code = (
        "import sys, time; from tests.amcl_serve.model.test_children import *; "
        "decode(BMP, SPEC, max_pixels=10**6); print(*shared().pids(), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert pids
        assert all(psutil.pid_exists(pid) for pid in pids)
        parent.send_signal(number)
    assert all(gone(pid) for pid in pids)


def test_children_end_when_their_parent_has_nothing_more_to_do() -> None:
    code = "from tests.amcl_serve.model.test_children import *; pixels(BMP); print(*shared().pids())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert all(gone(int(pid)) for pid in done.stdout.split())
    assert done.stderr == ""


def _in_a_fork(connection: multiprocessing.connection.Connection) -> None:
    connection.send((pixels(BMP).tolist(), shared().pids()))
    connection.close()


def test_a_forked_process_has_children_of_its_own() -> None:
    """As training's workers have; the parent's go on, and see the parent's end."""
    here = pixels(BMP)
    mine = shared().pids()
    ours, theirs = multiprocessing.Pipe()
    worker = multiprocessing.get_context("fork").Process(target=_in_a_fork, args=(theirs,))
    worker.start()
    found, pids = ours.recv()
    worker.join()
    assert (np.array(found) == here).all()
    assert pids
    assert not set(pids) & set(mine)
    assert all(gone(pid) for pid in pids)
    assert (pixels(BMP) == here).all()
    assert set(mine) <= set(shared().pids())


def test_common_files_need_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "Child", lambda: pytest.fail("a child"))
    monkeypatch.setattr("amcl_serve.model.children.pool.Child", lambda: pytest.fail("a child"))
    for form in ("JPEG", "PNG", "WEBP"):
        decode(photo(1, format=form), SPEC, max_pixels=10**6)
    decode(save(picture(1), "JPEG", progressive=True), SPEC, max_pixels=10**6)
    assert is_colour(pixels(images.cmyk_jpeg()), RED, 3)


def test_other_things_need_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amcl_serve.model.children.pool.Child", lambda: pytest.fail("a child"))
    with pytest.raises(UnsupportedImage):
        decode(b"<svg/>", SPEC, max_pixels=10**6)


def test_questions_and_answers_survive_their_frames() -> None:
    for wanted in (Wanted(0, False, 2**40, True), Wanted(1024, True, 1, False, "bicubic", 0.9)):
        assert frames.asked(frames.ask(wanted, 12)) == (wanted, 12)
    image = picture(1, (16, 16))
    head, body = frames.pixels(image)
    assert frames.body_length(head, WANTED) == len(body)
    assert frames.answer(head, body) == image
    head, body = frames.error(UnsupportedImage("no"))
    with pytest.raises(UnsupportedImage, match="no"):
        frames.answer(head, body)


def test_closing_while_images_are_read_leaves_no_child(pool: Pool) -> None:
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                pool.read(BMP, WANTED)
            except UndecodableImage:
                return

    thread = threading.Thread(target=read)
    thread.start()
    while not pool.pids():
        time.sleep(0.01)
    stop.set()
    thread.join()
    pids = pool.pids()
    pool.close()
    assert all(gone(pid) for pid in pids)
