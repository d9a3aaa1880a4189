"""`python -m app` as its own process on a free port of this machine, and a browser to look at it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.processes import ROOT  # noqa: F401 - where other tests find it
from benchmarks.processes import serving as process_serving

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--enable-unsafe-swiftshader",  # WebGL without a GPU
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Watch:
    """What a page asked for and complained about."""

    def __init__(self, page: Page) -> None:
        self.hosts: set[str] = set()
        self.complaints: list[str] = []
        page.on("request", lambda request: self._asked(request.url))
        page.on("websocket", lambda socket: self._asked(socket.url))
        page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _asked(self, url: str) -> None:
        if urlsplit(url).scheme not in ("data", "blob"):
            self.hosts.add(urlsplit(url).hostname or "")


@contextmanager
def serving(bundle: Path | str, folder: Path, *flags: str) -> Iterator[str]:
    """The base URL of a server of `bundle` with the page, whose data and home lie in `folder`."""
    with process_serving(bundle, folder, "--session-threads", "1", *flags, program=("-m", "app")) as server:
        yield server.url


def call_of(config: dict[str, Any], output: str, among: int = 0) -> int:
    """The number of the page's handler that writes into the part of that id; `among` several, the one of that place."""
    (part,) = [each["id"] for each in config["components"] if each["props"].get("elem_id") == output]
    found = [each["id"] for each in config["dependencies"] if part in each["outputs"]]
    return int(found[among])


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium with a fresh profile; skips the test where none is installed, except in CI."""
    path = shutil.which("chromium")
    if path is None and not os.environ.get("CI"):
        pytest.skip("chromium is not installed")
    assert path is not None, "chromium is not installed; `make test` installs it where it may"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_FLAGS))
        try:
            yield browser
        finally:
            browser.close()
