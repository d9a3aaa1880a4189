"""Large images on many threads at a time take no more memory together than one bound."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time

import numpy as np
import PIL.Image
import pytest

from amcl_serve.model.formats.turns import Turns


def test_large_ones_wait_until_there_is_room_and_small_ones_do_not() -> None:
    turns, most, now = Turns(most=100, small=10), [0], [0]
    lock = threading.Lock()

    def one(pixels: int) -> None:
        with turns.one() as take:
            take(pixels)
            with lock:
                now[0] += pixels
                most[0] = max(most[0], now[0])
            time.sleep(0.01)
            with lock:
                now[0] -= pixels

    threads = [threading.Thread(target=one, args=[40]) for _ in range(12)]
    for thread in threads:
        thread.start()
    began = time.perf_counter()
    with turns.one() as take:
        take(10)
    assert time.perf_counter() - began < 5
    for thread in threads:
        thread.join(30)
    assert most[0] == 80
    one(500)  # one alone always may
    with turns.one() as take:
        take(100)  # all of it is free again, else this waits for ever


def test_a_failure_gives_its_room_back() -> None:
    turns = Turns(most=100, small=10)

    def fail() -> None:
        with turns.one() as take:
            take(90)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with turns.one() as take:
        take(100)


def test_images_of_many_pixels_do_not_add_up_in_memory() -> None:
    """Eight threads, 36 megapixels each: at once they would take 8 x 108 MB at least."""
    stream = io.BytesIO()
    PIL.Image.fromarray(np.zeros((6000, 6000, 3), np.uint8)).save(stream, "PNG", compress_level=1)
    code = """
import resource, sys, threading
from amcl_serve.model.bundle import InputSpec
from amcl_serve.model.pixels import decode
data = sys.stdin.buffer.read()
decode(data, InputSpec(size=64), max_pixels=64_000_000)
one = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run = lambda: decode(data, InputSpec(size=64), max_pixels=64_000_000)
threads = [threading.Thread(target=run) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - one) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], input=stream.getvalue(), capture_output=True, check=True)
    assert int(done.stdout) < 150  # MiB more than one takes
