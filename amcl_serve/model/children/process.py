"""One child process as its parent sees it: started, asked, ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from PIL import Image

from amcl_serve.errors import AmclError
from amcl_serve.model.children import frames
from amcl_serve.model.children.limits import clock_seconds
from amcl_serve.model.formats.reading import Wanted
from amcl_serve.model.formats.turns import Take

_ROOT = str(Path(__file__).parents[3])  # where this very package lies, whichever others are installed
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from amcl_serve.model.children.child import main; main()"
)
_START_SECONDS = 60.0
_BLOCK = 1 << 20
# No more of the environment: keys have no place in the process that reads what strangers send.
_INHERITED = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "LD_PRELOAD", "MALLOC_CHECK_", "GLIBC_TUNABLES", "TMPDIR")
_OWN = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    # What a large image took goes back at once; what each one takes is kept.
    "MALLOC_MMAP_THRESHOLD_": "4194304",
    "MALLOC_TRIM_THRESHOLD_": "16777216",
}


class Gone(Exception):
    """The child has ended, or talks nonsense."""


class TooSlow(Exception):
    """The child has not answered in time."""


class Child:
    """A running child. It is asked by one thread at a time; after Gone or TooSlow it is of no more use."""

    def __init__(self) -> None:
        path = [_ROOT, *(str(Path(place).absolute()) for place in sys.path)]
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ} | _OWN
        self._process = subprocess.Popen(  # noqa: S603 - this very Python, and nothing that was sent
            [sys.executable, "-I", "-S", "-c", _BOOT, json.dumps(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to: IO[bytes] = self._process.stdin
        self._from: IO[bytes] = self._process.stdout
        for pipe in (self._to, self._from):
            os.set_blocking(pipe.fileno(), False)
        if not self._is_ready():
            self.end()
            raise AmclError("the server failed to start a process that decodes images; its log says why")

    def _is_ready(self) -> bool:
        try:
            return self._receive(1, time.monotonic() + _START_SECONDS) == frames.READY
        except (Gone, TooSlow):
            return False

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def read(self, data: bytes, wanted: Wanted, take: Take) -> Image.Image:
        """The image in `data` as `wanted`; raises its error, Gone or TooSlow. While `take` waits, no time runs."""
        until = time.monotonic() + clock_seconds(wanted.max_pixels)
        self._send(frames.ask(wanted, len(data)), until)
        self._send(data, until)
        head = bytes(self._receive(frames.ANSWERED.size, until))
        try:
            if (pixels := frames.wants_turn(head, wanted)) is not None:
                take(pixels)
                until = time.monotonic() + clock_seconds(wanted.max_pixels)
                self._send(frames.TURN, until)
                head = bytes(self._receive(frames.ANSWERED.size, until))
            body = self._receive(frames.body_length(head, wanted), until)
            return frames.answer(head, body)
        except frames.BadAnswer:
            raise Gone from None

    def end(self) -> None:
        """Kill and reap it, and close the pipes."""
        self._process.kill()
        self._process.wait()
        self.forget()

    def forget(self) -> None:
        """Close the pipes only: it has ended, or is the child of another process, after a fork."""
        self._process.returncode = self._process.returncode or 0  # not to be looked after
        for pipe in (self._to, self._from):
            with contextlib.suppress(OSError):  # a broken pipe
                pipe.close()

    def _send(self, data: bytes, until: float) -> None:
        view = memoryview(data)
        while view:
            self._wait(self._to, select.POLLOUT, until)
            try:
                view = view[os.write(self._to.fileno(), view[:_BLOCK]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise Gone from None

    def _receive(self, length: int, until: float) -> bytearray:
        found = bytearray()
        while len(found) < length:
            self._wait(self._from, select.POLLIN, until)
            try:
                part = os.read(self._from.fileno(), min(length - len(found), _BLOCK))
            except BlockingIOError:
                continue
            if not part:
                raise Gone
            found += part
        return found

    @staticmethod
    def _wait(pipe: IO[bytes], event: int, until: float) -> None:
        """Until the pipe has room or bytes, or its other end is closed."""
        poll = select.poll()
        poll.register(pipe.fileno(), event)
        if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
            raise TooSlow
