"""Where our server's CPU time goes: its threads by their names, which py-spy reads."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psutil

from benchmarks.serving.load import Bodies, send

OTHERS = "onnxruntime's"  # threads without a Python frame
_THREAD = re.compile(r'^Thread (\d+) \([^)]*\): "([^"]*?)[-_ ]?\d*"', re.MULTILINE)
_SPY = Path(sys.executable).with_name("py-spy")


def cpu_by_thread(pid: int, url: str, bodies: Bodies, *, connections: int, seconds: int) -> dict[str, float]:
    """CPU milliseconds a request of each kind of thread under load, most first; RuntimeError where py-spy may not look.

    Threads of a pool, whose names differ by a number only, count together.
    """
    dump = subprocess.run([_SPY, "dump", "--pid", str(pid)], capture_output=True, text=True)
    if dump.returncode:
        raise RuntimeError(f"py-spy: {dump.stderr.strip()}")
    names = {int(thread): name for thread, name in _THREAD.findall(dump.stdout)}
    before = _cpu_seconds(pid)
    load = send(url, bodies, connections=connections, seconds=seconds)
    spent: Counter[str] = Counter()
    for thread, after in _cpu_seconds(pid).items():
        spent[names.get(thread, OTHERS)] += after - before.get(thread, 0.0)
    requests = load.rate * load.seconds
    return {name: 1000 * total / requests for name, total in spent.most_common()}


def _cpu_seconds(pid: int) -> dict[int, float]:
    return {thread.id: thread.user_time + thread.system_time for thread in psutil.Process(pid).threads()}
