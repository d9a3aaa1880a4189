from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from amcl_serve.http.app import create_app
from amcl_serve.settings import Settings
from tests.amcl_serve.http.conformance import conforms

LIMITS = {"max_items": 4, "max_body_bytes": 64 * 1024}


def picture(seed: int, size: int = 24) -> bytes:
    """A PNG of random colours in four quarters: every seed another embedding."""
    colours = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(colours.repeat(size // 2, axis=0).repeat(size // 2, axis=1)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="session")
def settings(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        model=str(tiny_bundle),
        data_dir=tmp_path_factory.mktemp("data"),
        session_threads=1,
        decode_threads=1,
        **LIMITS,
    )


@pytest.fixture(scope="session")
def client(settings: Settings) -> Iterator[TestClient]:
    app = create_app(settings)
    with TestClient(app, raise_server_exceptions=False) as client:
        client.event_hooks["response"].append(conforms(app.openapi()))  # so every test of a route is one of its schema
        yield client
