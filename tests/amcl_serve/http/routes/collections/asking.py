"""How these tests ask: addresses, bodies, and what they expect of answers."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from starlette.testclient import TestClient

from amcl_serve.http.shapes.points import Operation
from amcl_serve.settings import Settings
from tests.fakes import D
from tests.images import photo

URL = "/collections/photos"
POINTS = f"{URL}/points"
A_UUID = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
TOP = (1 << 64) - 1


def make_settings(bundle: Path, data: Path) -> Settings:
    return Settings(
        model=str(bundle), data_dir=data, session_threads=1, decode_threads=1, max_items=32, max_body_bytes=1 << 20
    )


def ok(response: Any, shape: Any = Any) -> Any:
    assert response.status_code == 200, response.text
    body = response.json()
    assert (set(body), body["status"]) == ({"result", "status", "time"}, "ok")
    assert 0 <= body["time"] < 10
    TypeAdapter(shape).validate_python(body["result"])
    return body["result"]


def refused(response: Any, status: int, code: str, says: str) -> None:
    body = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    assert response.headers["content-type"] == "application/problem+json"
    assert body["status"] == {"error": body["detail"]}
    assert says in body["detail"], body["detail"]


def data_uri(image: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(image).decode()


def unit(*head: float) -> list[float]:
    return [*map(float, head), *[0.0] * (D - len(head))]


def files(*images: bytes) -> list[Any]:
    return [("files", (f"{i}.jpg", image, "image/jpeg")) for i, image in enumerate(images)]


def put_images(client: TestClient, *seeds: int) -> None:
    points = json.dumps([{"id": seed, "payload": {"seed": seed}} for seed in seeds])
    ok(client.put(POINTS, files=files(*map(photo, seeds)), data={"points": points}), Operation)
