"""A server over real HTTP, which asks for a key, for the stock clients."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from pydantic import SecretStr

from amcl_serve.http.app import create_app
from amcl_serve.settings import Settings
from tests.amcl_serve.http.conftest import LIMITS
from tests.amcl_serve.http.routes.protocols.asking import KEY


@pytest.fixture(scope="module")
def served(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a server with a key, over real HTTP."""
    settings = Settings(
        model=str(tiny_bundle),
        data_dir=tmp_path_factory.mktemp("served"),
        session_threads=1,
        decode_threads=1,
        api_key=SecretStr(KEY),
        **LIMITS,
    )
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_app(settings), log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, args=([sock],))
        thread.start()
        try:
            until = time.monotonic() + 60
            while not server.started:
                assert thread.is_alive()
                assert time.monotonic() < until
                time.sleep(0.02)
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(60)
