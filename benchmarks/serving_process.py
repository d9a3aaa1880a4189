"""A server under test: started as a process of its own on a free port, watched while it works, ended in any case."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS, STOP_SECONDS = 60.0, 2.0
MiB = 1024 * 1024


class Running:
    """A started server; `peak` is the highest memory seen, MiB."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/embed"
        self.pid = process.pid
        self.peak = 0.0
        self._root = psutil.Process(process.pid)

    def tree(self) -> list[psutil.Process]:
        """The process and all that it started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self._root, *self._root.children(recursive=True)]
        return []

    def cpu_seconds(self) -> float:
        """User and system time of the tree."""
        total = 0.0
        for process in self.tree():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def note_memory(self) -> None:
        """Look at the proportional set size of the tree, which counts pages that processes share once."""
        total = 0.0
        for process in self.tree():
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
        self.peak = max(self.peak, total / MiB)

    def watch_memory(self, ended: threading.Event) -> None:
        """Look every second."""
        while not ended.wait(1.0):
            self.note_memory()


@contextlib.contextmanager
def running(
    name: str, command: Sequence[str], environment: Mapping[str, str], content_type: str, body: bytes
) -> Iterator[Running]:
    """Start `command`, whose `{port}` is filled in, and wait until it answers `body`.

    RuntimeError with the end of its output when it does not within a minute. Whatever happens in the block, no process
    of the server is left after it.
    """
    port = _free_port()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [word.replace("{port}", str(port)) for word in command],
            cwd=ROOT,
            env=os.environ | dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the benchmark, which then ends the group
        )
        server, ended = Running(process, port), threading.Event()
        watcher = threading.Thread(target=server.watch_memory, args=(ended,), daemon=True)
        try:
            _wait_ready(process, server.url, content_type, body)
            watcher.start()
            yield server
        except Exception as error:
            output.seek(0)
            tail = output.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"{name}: {error}\n{tail}") from error
        finally:
            ended.set()
            _end(process, server)


def post(url: str, content_type: str, body: bytes, timeout: float = 30.0) -> bytes:
    """The answer's body; urllib's URLError for anything but success."""
    request = urllib.request.Request(url, body, {"Content-Type": content_type})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return bytes(answer.read())


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _wait_ready(process: subprocess.Popen[bytes], url: str, content_type: str, body: bytes) -> None:
    began = time.monotonic()
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"ended with {process.returncode} before it was ready")
        try:
            post(url, content_type, body, timeout=5.0)
        except (OSError, urllib.error.URLError) as error:
            if time.monotonic() - began > START_SECONDS:
                raise RuntimeError(f"not ready after {START_SECONDS:g} seconds: {error}") from None
            time.sleep(0.1)
        else:
            return


def _end(process: subprocess.Popen[bytes], server: Running) -> None:
    """SIGTERM to the first process; what is left after some seconds, wherever it moved, is killed."""
    interrupts = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, interrupts)  # the second Ctrl-C of the impatient waits
    try:
        members = server.tree()
        process.terminate()
        psutil.wait_procs(members, timeout=STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for member in members:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, interrupts)
