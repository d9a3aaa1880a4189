from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from amcl_serve.errors import StorageError, StorageFull
from amcl_serve.http.app import create_app
from amcl_serve.http.shapes.collections import CollectionDetail, CollectionList
from tests.amcl_serve.http.routes.collections.asking import (
    POINTS,
    URL,
    data_uri,
    files,
    make_settings,
    ok,
    put_images,
    refused,
    unit,
)
from tests.fakes import D, make_bundle
from tests.images import photo


def test_a_collections_life(client: TestClient) -> None:
    detail = ok(client.get(URL), CollectionDetail)
    assert detail["config"]["params"] == {"vectors": {"size": D, "distance": "Cosine", "datatype": "float32"}}
    assert (detail["points_count"], detail["model"]) == (0, None)
    other = "/collections/a.b_c-9"
    assert ok(client.put(other, json={"vectors": {"size": 3, "distance": "Euclid"}}), bool) is True
    names = ok(client.get("/collections"), CollectionList)
    assert names == {"collections": [{"name": "a.b_c-9"}, {"name": "photos"}]}
    refused(client.put(other, json={"vectors": {"distance": "Dot"}}), 409, "collection_exists", "'a.b_c-9'")
    assert ok(client.delete(other)) is True
    assert ok(client.delete(other)) is False
    refused(client.get(other), 404, "collection_not_found", "no collection 'a.b_c-9'")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "vectors"),
        ({"vectors": {}}, "vectors.distance"),
        ({"vectors": {"distance": "Manhattan"}}, "'Cosine', 'Dot' or 'Euclid'"),
        ({"vectors": {"distance": "Dot", "size": 0}}, "vectors.size"),
        ({"vectors": {"distance": "Dot", "size": 65537}}, "65536"),
        ({"vectors": {"distance": "Dot", "datatype": "uint8"}}, "datatype"),
    ],
)
def test_bad_collections(client: TestClient, body: dict[str, Any], says: str) -> None:
    refused(client.put("/collections/x", json=body), 422, "invalid_request", says)


@pytest.mark.parametrize("name", [".hidden", "a b", "a'--", "%22", "..%2e", "a" * 129])
def test_bad_names(client: TestClient, name: str) -> None:
    body = {"vectors": {"distance": "Dot"}}
    refused(client.put(f"/collections/{name}", json=body), 422, "invalid_request", "letters")


def test_another_model_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    def serve(bundle: Path) -> TestClient:
        return TestClient(create_app(make_settings(bundle, tmp_path / "data")), raise_server_exceptions=False)

    with serve(tiny_bundle) as client:
        ok(client.put(URL, json={"vectors": {"distance": "Cosine"}}))
        ok(client.put("/collections/small", json={"vectors": {"size": 3, "distance": "Cosine"}}))
        put_images(client, 1)
        mine = ok(client.get(URL))["model"]
        small = {"points": [{"id": 1, "image": data_uri(photo(1))}]}
        refused(client.put("/collections/small/points", json=small), 409, "collection_mismatch", "size 3")
    with serve(make_bundle(tmp_path / "other", name="other")) as client:
        digest = client.get("/models").json()["data"][0]["digest"]
        body = {"points": [{"id": 2, "image": data_uri(photo(2))}]}
        for response in (
            client.put(POINTS, json=body),
            client.post(f"{POINTS}/query", files={"file": photo(1)}),
            client.post(f"{POINTS}/query", json={"query": {"image": data_uri(photo(1))}}),
        ):
            refused(response, 409, "collection_mismatch", f"{mine['name']} ({mine['digest']})")
            assert f"other ({digest})" in response.json()["detail"]
        assert ok(client.post(f"{POINTS}/query", json={"query": unit(1)}))["points"][0]["id"] == 1
        assert ok(client.get(URL))["points_count"] == 1


@pytest.mark.sqlite_only
def test_a_second_server_on_the_same_folder_is_refused(server: TestClient) -> None:
    second = TestClient(create_app(server.app.state.server.settings))  # type: ignore[attr-defined]
    with pytest.raises(StorageError, match="in use by another server"):
        second.__enter__()


def test_a_full_disk_is_507(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise StorageFull("the server's disk is full: nothing of this request was stored")

    monkeypatch.setattr(type(client.app.state.server.store), "upsert", full)  # type: ignore[attr-defined]
    body = {"points": [{"id": 1, "vector": unit(1)}]}
    refused(client.put(POINTS, json=body), 507, "storage_full", "nothing of this request")


def test_unknown_collections(client: TestClient) -> None:
    nope = "/collections/nope/points"
    point = {"points": [{"id": 1, "vector": unit(1)}]}
    for response in (
        client.put(nope, json=point),
        client.put(nope, files=files(photo(1)), data={"points": '[{"id": 1}]'}),
        client.get(f"{nope}/1"),
        client.post(f"{nope}/query", json={"query": unit(1)}),
        client.post(f"{nope}/query", files={"file": photo(1)}),
        client.post(f"{nope}/scroll", json={}),
        client.post(f"{nope}/count", json={}),
        client.post(f"{nope}/delete", json={"points": [1]}),
    ):
        refused(response, 404, "collection_not_found", "'nope'")
