from __future__ import annotations

import json
from io import BytesIO

import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.amcl_serve.http.routes.collections.asking import A_UUID, data_uri, files, ok, refused, unit
from tests.images import photo

pytestmark = pytest.mark.sqlite_only
URL = "/collections/seen"
POINTS = f"{URL}/points"


def create(client: TestClient) -> None:
    ok(client.put(URL, json={"vectors": {"distance": "Cosine"}, "thumbnails": True}))


def test_a_thumbnail_of_each_image(client: TestClient) -> None:
    create(client)
    assert ok(client.get(URL))["thumbnails"] is True
    points = json.dumps([{"id": 1}, {"id": A_UUID}])
    ok(client.put(POINTS, files=files(photo(1, (300, 200)), photo(2)), data={"points": points}))
    ok(client.put(POINTS, json={"points": [{"id": 3, "image": data_uri(photo(3))}, {"id": 4, "vector": unit(1)}]}))
    for point, size in ((1, (128, 85)), (A_UUID, (48, 32)), (3, (48, 32))):
        response = client.get(f"{POINTS}/{point}/thumbnail")
        assert (response.status_code, response.headers["content-type"]) == (200, "image/webp")
        assert Image.open(BytesIO(response.content)).size == size
    refused(client.get(f"{POINTS}/4/thumbnail"), 404, "not_found", "'4' has no thumbnail")
    ok(client.put(POINTS, json={"points": [{"id": 1, "image": data_uri(photo(1, (20, 10)))}]}))
    assert Image.open(BytesIO(client.get(f"{POINTS}/1/thumbnail").content)).size == (20, 10)
    ok(client.post(f"{POINTS}/delete", json={"points": [3]}))
    refused(client.get(f"{POINTS}/3/thumbnail"), 404, "point_not_found", "'3'")


def test_embeddings_are_those_of_a_collection_without(client: TestClient) -> None:
    create(client)
    for path in (POINTS, "/collections/photos/points"):
        ok(client.put(path, json={"points": [{"id": 1, "image": data_uri(photo(1, (300, 200)))}]}))
    vectors = [ok(client.get(f"{path}/1"))["vector"] for path in (POINTS, "/collections/photos/points")]
    assert vectors[0] == vectors[1]


def test_there_are_none_where_nobody_asked(client: TestClient) -> None:
    assert ok(client.get("/collections/photos"))["thumbnails"] is False
    ok(client.put("/collections/photos/points", json={"points": [{"id": 1, "image": data_uri(photo(1))}]}))
    refused(client.get("/collections/photos/points/1/thumbnail"), 404, "not_found", "`thumbnails: true`")
    refused(client.get("/collections/none/points/1/thumbnail"), 404, "collection_not_found", "'none'")
    refused(client.get("/collections/photos/points/x/thumbnail"), 422, "invalid_request", "id")
    body = {"vectors": {"distance": "Cosine"}, "thumbnails": "yes"}
    refused(client.put("/collections/x", json=body), 422, "invalid_request", "thumbnails")
