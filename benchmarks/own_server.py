"""Our server as a process of its own on a free port of this machine, for benchmarks and for tests of the real thing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MiB = 1024 * 1024
ROOT = Path(__file__).parent.parent
API = ("-m", "amcl_serve.cli", "serve")  # without the page


@dataclass(frozen=True)
class Server:
    """A running server: its base URL, its process, and the file that holds what it prints."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def resident(self) -> int:
        """Bytes of memory that the process holds now."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """The most bytes of memory that the process ever held."""
        return self._status("VmHWM")

    def handles(self) -> int:
        """File handles that the process has open, sockets included."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def cpu_seconds(self) -> float:
        """Processor time that the process has taken, in user code and in the kernel."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _status(self, name: str) -> int:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@contextmanager
def serving(
    model: Path | str, folder: Path, *flags: str, program: tuple[str, ...] = API, **environment: str
) -> Iterator[Server]:
    """A ready server of `model`, stopped at the end; `folder` gets its data, home and log. Python runs `program`."""
    port = free_port()
    (folder / "home").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, *program, "--model", str(model), "--port", str(port)]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AMCL_", "GRADIO_", "XDG_"))}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--data-dir", str(folder / "data"), *flags],
            cwd=ROOT,
            env=kept | {"HOME": str(folder / "home")} | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        server = Server(f"http://127.0.0.1:{port}", process, folder / "log")
        try:
            _wait(server)
            yield server
        finally:
            process.terminate()
            process.wait(40)


def free_port() -> int:
    """A port of this machine that nothing listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait(server: Server, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert server.process.poll() is None, server.log.read_text()
        try:
            with urllib.request.urlopen(f"{server.url}/readyz", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"not ready after {seconds} s: {server.log.read_text()}")
