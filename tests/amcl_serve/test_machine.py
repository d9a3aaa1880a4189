from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from amcl_serve import machine

LARGE = """
from PIL import Image
from amcl_serve.machine import free_large_blocks_at_once

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

if {call}:
    free_large_blocks_at_once()
before, kept = resident(), []
for _ in range(3):
    image = Image.new("RGB", (4000, 3000), "red")
    kept.append(bytearray(100_000))  # lies behind the image's blocks, as what other requests hold
    del image
print(resident() - before)
"""


def test_cores_are_those_of_the_process() -> None:
    assert machine.cores() == len(os.sched_getaffinity(0))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a knob of glibc")
def test_what_a_large_image_took_is_given_back() -> None:
    """Against the default in the same way, which keeps some 40 MB here."""
    grown = {
        call: int(
            subprocess.run([sys.executable, "-c", LARGE.format(call=call)], capture_output=True, check=True).stdout
        )
        for call in (True, False)
    }
    assert grown[True] < 8 << 20 < grown[False]
