"""Servers as processes of their own on a free port of this machine: started, watched while they work, always ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MiB = 1024 * 1024
ROOT = Path(__file__).parent.parent
API = ("-m", "amcl_serve.cli", "serve")  # without the page
START_SECONDS, STOP_SECONDS = 180.0, 40.0

Ready = Callable[[str], None]  # asks the server of a base URL; OSError while it is not ready


@dataclass
class Server:
    """A running server: its base URL, its process, and the file that holds what it prints."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    stop: float  # seconds that it has for its end
    peak_shared: float = 0.0  # MiB, the most that was noted
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def port(self) -> int:
        """Of the URL."""
        return int(self.url.rpartition(":")[2])

    def resident(self) -> int:
        """Bytes of memory that the first process holds now."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """The most bytes of memory that the first process ever held."""
        return self._status("VmHWM")

    def handles(self) -> int:
        """File handles that the first process has open, sockets included."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def tree(self) -> list[psutil.Process]:
        """The process and all that it started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            first = psutil.Process(self.process.pid)
            return [first, *first.children(recursive=True)]
        return []

    def cpu_seconds(self) -> float:
        """Processor time that the tree has taken, in user code and in the kernel."""
        total = 0.0
        for process in self.tree():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def watch_memory(self) -> None:
        """Note the memory every second from now on."""
        threading.Thread(target=self._watch, daemon=True).start()

    def note_memory(self) -> None:
        """Look at the tree's memory, which counts pages that processes share once."""
        total = 0.0
        for process in self.tree():
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
        self.peak_shared = max(self.peak_shared, total / MiB)

    def end(self) -> None:
        """SIGTERM to the first process; what is left of the tree after a while, wherever it moved, is killed."""
        self._ended.set()
        interrupts = {signal.SIGINT, signal.SIGTERM}
        main = threading.current_thread() is threading.main_thread()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, interrupts) if main else None  # the second Ctrl-C waits
        try:
            members = self.tree()
            self.process.terminate()
            psutil.wait_procs(members, timeout=self.stop)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            for member in members:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
            self.process.wait()
        finally:
            if before is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _watch(self) -> None:
        while not self._ended.wait(1.0):
            self.note_memory()

    def _status(self, name: str) -> int:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@contextmanager
def running(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    ready: Ready,
    *,
    seconds: float = START_SECONDS,
    stop: float = STOP_SECONDS,
) -> Iterator[Server]:
    """Start `command`, whose `{port}` is filled in, with `environment` alone, and wait until it is `ready`.

    RuntimeError with the end of its output when it is not in time. Whatever happens in the block, no process of the
    server is left after it.
    """
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [word.replace("{port}", str(port)) for word in command],
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the benchmark, which then ends the group
        )
        server = Server(f"http://127.0.0.1:{port}", process, log, stop)
        try:
            _wait(server, ready, seconds)
            yield server
        finally:
            server.end()


@contextmanager
def serving(
    model: Path | str, folder: Path, *flags: str, program: tuple[str, ...] = API, **environment: str
) -> Iterator[Server]:
    """A ready server of ours of `model`; `folder` gets its data, home and log. Python runs `program`."""
    (folder / "home").mkdir(parents=True, exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AMCL_", "GRADIO_", "XDG_"))}
    command = [sys.executable, *program, "--model", str(model), "--port", "{port}"]
    with running(
        [*command, "--data-dir", str(folder / "data"), *flags],
        kept | {"HOME": str(folder / "home")} | environment,
        folder / "log",
        lambda url: _get(f"{url}/readyz"),
    ) as server:
        yield server


def free_port() -> int:
    """A port of this machine that nothing listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def post(url: str, content_type: str, body: bytes, timeout: float = 30.0) -> bytes:
    """The answer's body; urllib's URLError for anything but success."""
    request = urllib.request.Request(url, body, {"Content-Type": content_type})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return bytes(answer.read())


def _get(url: str) -> None:
    with urllib.request.urlopen(url, timeout=2):
        pass


def _wait(server: Server, ready: Ready, seconds: float) -> None:
    end, why = time.monotonic() + seconds, ""
    while time.monotonic() < end:
        if server.process.poll() is not None:
            raise RuntimeError(f"it ended with {server.process.returncode} before it was ready: {_tail(server.log)}")
        try:
            ready(server.url)
        except (urllib.error.URLError, OSError) as error:
            why = str(error)
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"it was not ready after {seconds:g} seconds ({why}): {_tail(server.log)}")


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]
