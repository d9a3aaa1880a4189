"""How each server is started, and the settings among which a peer's best are searched."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from amcl_serve.model.bundle import Bundle
from benchmarks.processes import ROOT
from benchmarks.serving.peers.peer import Peer

OURS, LITSERVE, PLAIN, MOSEC = "amcl-serve", "litserve", "fastapi", "mosec"
PEERS = (LITSERVE, MOSEC, PLAIN)

# What uvicorn uses where it finds it. The peers bring them along; ours has them only if its own requirements do.
_EXTRAS = ("httptools", "uvloop")

Settings = dict[str, Any]


def candidates(cores: int) -> dict[str, list[Settings]]:
    """Settings to try for each peer: workers on every core, or one worker with threads; with and without batches."""
    alone, wide = {"workers": cores, "threads": 1}, {"workers": 1, "threads": cores}
    in_threads = {**wide, "decoders": cores}
    return {
        LITSERVE: [
            alone,
            wide,
            {**alone, "fast_queue": True},
            {**alone, "batch": 8, "wait_ms": 1},
            {**wide, "batch": 16, "wait_ms": 3},
            {**in_threads, "batch": 16, "wait_ms": 3},
            {**in_threads, "batch": 8, "wait_ms": 1},
        ],
        MOSEC: [
            alone,
            {**alone, "batch": 8, "wait_ms": 1},
            {**in_threads, "batch": 16, "wait_ms": 1},
            {**in_threads, "threads": 1, "batch": 16, "wait_ms": 1},
            {**in_threads, "batch": 1},
        ],
        PLAIN: [
            {**alone, "decoders": 1},
            {**alone, "decoders": 2},
            {**in_threads, "threads": 1},
            in_threads,
            {**wide, "decoders": 16},
        ],
    }


@dataclass(frozen=True)
class Start:
    """A server to be started: which, for which bodies, decoding how, with which settings."""

    server: str
    body: str  # json or raw
    scaled: bool
    peer: Peer | None  # None: ours, at its defaults

    @property
    def command(self) -> list[str]:
        """With `{port}` for the port."""
        if self.server == OURS:
            return [sys.executable, "-c", _ours(), "serve", "--port", "{port}"]
        if self.server == PLAIN:
            assert self.peer is not None
            options = ["--workers", str(self.peer.workers), "--log-level", "warning", "--no-access-log"]
            return [sys.executable, "-m", "uvicorn", "benchmarks.serving.peers.plain:app", "--port", "{port}", *options]
        if self.server == LITSERVE:
            return [sys.executable, "-m", "benchmarks.serving.peers.litserver", "{port}"]
        options = ["--address", "127.0.0.1", "--port", "{port}", "--timeout", "30000", "--log-level", "warning"]
        return [sys.executable, "-m", "benchmarks.serving.peers.mosec_server", *options]

    def environment(self, bundle: Path, folder: Path) -> dict[str, str]:
        """Of the process; `bundle` is for ours, `folder` for what servers write."""
        if self.peer is not None:
            return {"TMPDIR": str(folder)} | self.peer.environment()
        return {"AMCL_MODEL": str(bundle), "AMCL_DATA_DIR": str(folder / "data"), "AMCL_PRECISION": "int8"}


def _ours() -> str:
    """The command amcl-serve, without the packages that `make serve` would not install."""
    pinned = {line.partition("==")[0] for line in (ROOT / "requirements" / "serve.txt").read_text().splitlines()}
    hidden = [name for name in _EXTRAS if name not in pinned]
    return f"import sys; sys.modules.update(dict.fromkeys({hidden})); from amcl_serve.cli import main; sys.exit(main())"


def base_peer(bundle: Bundle) -> Peer:
    """The settings that all peers share: the bundle's int8 encoder, full decoding, JSON."""
    return Peer(str(bundle.encoder_path("int8")), bundle.card.input.size, "json", scaled=False)


def start(server: str, base: Peer, settings: Settings | None, *, body: str, scaled: bool) -> Start:
    """`settings` None: ours."""
    peer = None if settings is None else replace(base, body=body, scaled=scaled, **settings)
    return Start(server, body, scaled, peer)


def described(settings: Settings) -> str:
    """For a reader: what differs from a Peer's defaults."""
    defaults = {field.name: field.default for field in fields(Peer)}
    return ", ".join(
        f"{name} {value}" for name, value in settings.items() if value != defaults[name] or name == "workers"
    )
