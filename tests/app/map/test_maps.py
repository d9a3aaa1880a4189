"""Maps over HTTP, as the page's script reads them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from amcl_serve.http.app import create_app
from amcl_serve.settings import Settings
from app.mount import mount

COUNT = 300


@pytest.fixture(scope="module")
def client(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = Settings(model=str(tiny_bundle), data_dir=tmp_path_factory.mktemp("maps"), session_threads=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", "")
        with TestClient(mount(create_app(settings, index=False), settings)) as client:
            client.put("/collections/c", json={"vectors": {"size": 6, "distance": "Dot"}})
            client.put("/collections/none", json={"vectors": {"size": 6, "distance": "Dot"}})
            vectors = np.random.default_rng(0).normal(size=(COUNT, 6))
            payload = [{"kind": "ab"[i % 2], "n": i / 2, "list": [1]} if i else {} for i in range(COUNT)]
            points = [{"id": i, "vector": vectors[i].tolist(), "payload": payload[i]} for i in range(COUNT)]
            assert client.put("/collections/c/points", json={"points": points}).status_code == 200
            yield client


def unpack(body: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(body[:4], "little")
    assert (4 + length) % 4 == 0
    return orjson.loads(body[4 : 4 + length]), body[4 + length :]


def test_a_map_has_places_clusters_and_ids(client: TestClient) -> None:
    head, body = unpack(client.get("/page/map/c").content)
    assert (head["points"], head["shown"], head["fields"]) == (COUNT, COUNT, ["kind", "n"])
    xy = np.frombuffer(body, "<f4", 2 * COUNT).reshape(2, COUNT)
    assert np.abs(xy).max() == pytest.approx(0.95, abs=1e-4)
    assert set(body[8 * COUNT : 9 * COUNT]) == set(range(head["clusters"]))
    assert body[9 * COUNT :].decode().split("\n") == [str(i) for i in range(COUNT)]


def test_a_field_colours_by_its_values_or_on_a_scale(client: TestClient) -> None:
    token = unpack(client.get("/page/map/c").content)[0]["token"]
    head, codes = unpack(client.get("/page/colours", params={"token": token, "key": "kind"}).content)
    assert head == {"categories": ["b", "a"], "counts": [150, 149], "none": 1}
    assert list(codes[:4]) == [255, 0, 1, 0]
    head, codes = unpack(client.get("/page/colours", params={"token": token, "key": "n"}).content)
    assert head == {"low": 0.5, "high": 149.5}
    assert (codes[0], codes[1], codes[-1]) == (255, 0, 254)


def test_a_map_is_saved_as_parquet_in_row_groups(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.map.export.PART", 128)
    head, body = unpack(client.get("/page/map/c").content)
    response = client.get("/page/export", params={"token": head["token"]})
    assert response.headers["content-disposition"] == 'attachment; filename="c.parquet"'
    file = pq.ParquetFile(io.BytesIO(response.content))
    assert file.metadata.num_row_groups == 3
    table = file.read()
    assert table["id"].to_pylist() == [str(i) for i in range(COUNT)]
    xy = np.frombuffer(body, "<f4", 2 * COUNT).reshape(2, COUNT)
    np.testing.assert_array_equal(np.array([table["projection_x"], table["projection_y"]]), xy)
    assert table["cluster"].to_pylist() == list(body[8 * COUNT : 9 * COUNT])
    vectors = np.random.default_rng(0).normal(size=(COUNT, 6))
    np.testing.assert_allclose(np.array(table["vector"].to_pylist()), vectors, rtol=1e-5)
    assert table["kind"].to_pylist()[:3] == [None, "b", "a"]
    assert table["n"].to_pylist()[:3] == [None, 0.5, 1.0]
    assert table["list"].to_pylist()[:2] == [None, "[1]"]


def test_parquet_without_pyarrow_says_what_to_install(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    token = unpack(client.get("/page/map/c").content)[0]["token"]
    monkeypatch.setattr("app.routes.find_spec", lambda name: None)
    response = client.get("/page/export", params={"token": token})
    assert response.status_code == 422
    assert "amcl-serve[parquet]" in response.json()["detail"]


def test_of_many_points_as_many_as_a_map_holds_are_drawn(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.map.drawing.MAX_POINTS", 50)
    head, body = unpack(client.get("/page/map/c").content)
    assert (head["points"], head["shown"]) == (COUNT, 50)
    ids = body[9 * 50 :].decode().split("\n")
    assert len(set(ids)) == 50


def test_an_empty_collection_has_an_empty_map(client: TestClient) -> None:
    head, _ = unpack(client.get("/page/map/none").content)
    assert head == {"points": 0, "shown": 0}


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/page/map/nowhere", 404, "collection_not_found"),
        ("/page/colours?token=x&key=n", 409, "conflict"),
        ("/page/export?token=x", 409, "conflict"),
        ("/page/scripts/page.css", 404, "not_found"),
        ("/page/scripts/..%2Fpage.py", 404, "not_found"),
    ],
)
def test_what_is_not_there_is_a_problem(client: TestClient, path: str, status: int, code: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.json()["code"]) == (status, code)
