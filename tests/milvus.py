"""Milvus Lite in the test's own process, listening on 127.0.0.1 alone; tests are skipped where it is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest


class Lite:
    """A server of the folder's data; it may be started again after it was stopped."""

    def __init__(self, folder: Path) -> None:
        pytest.importorskip("pymilvus", reason="pymilvus, the extra `milvus`, is not installed")
        pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")
        self._folder = folder
        self._running = False

    def start(self, port: int = 0) -> str:
        """Its address, host:port; at a free port where none is given."""
        from milvus_lite.adapter.grpc.server import start_server_in_thread

        self._server, self._data, port = start_server_in_thread(str(self._folder), host="127.0.0.1", port=port)
        self._running = True
        return f"127.0.0.1:{port}"

    def stop(self) -> None:
        if self._running:
            self._running = False
            self._server.stop(None).wait()
            self._data.close()
