"""What the tests of all protocols send, and what is right."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from starlette.testclient import TestClient

from tests.amcl_serve.http.conftest import picture

KEY = "key-of-the-test-server"


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def uri(seed: int) -> str:
    return "data:image/png;base64," + text(picture(seed))


def unit_features(client: TestClient, *seeds: int) -> np.ndarray[Any, Any]:
    files = [("files", (f"{seed}.png", picture(seed))) for seed in seeds]
    data = client.post("/embed?normalize=true", files=files).json()["data"]
    return np.array([item["embedding"] for item in data], np.float32)
