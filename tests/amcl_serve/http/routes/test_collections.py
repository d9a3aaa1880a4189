from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from fastapi import FastAPI
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from amcl_serve.engine.submissions import EmbedResult, Timing
from amcl_serve.errors import AmclError, StorageError, StorageFull, UndecodableImage
from amcl_serve.http.app import create_app
from amcl_serve.http.shapes import collections as shapes
from amcl_serve.settings import Settings
from amcl_serve.vectors.store import SqliteStore
from tests.fakes import D, make_bundle
from tests.images import bomb_png, photo, truncated

URL = "/collections/photos"
POINTS = f"{URL}/points"
A_UUID = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
TOP = (1 << 64) - 1


def make_settings(bundle: Path, data: Path) -> Settings:
    return Settings(
        model=str(bundle), data_dir=data, session_threads=1, decode_threads=1, max_items=32, max_body_bytes=1 << 20
    )


@pytest.fixture(scope="module")
def server(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = make_settings(tiny_bundle, tmp_path_factory.mktemp("data"))
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(server: TestClient) -> Iterator[TestClient]:
    """A server with an empty collection `photos` for the tiny bundle's images."""
    ok(server.put(URL, json={"vectors": {"distance": "Cosine"}}))
    yield server
    for entry in ok(server.get("/collections"))["collections"]:
        server.delete(f"/collections/{entry['name']}")


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
    ok(client.put(POINTS, files=files(*map(photo, seeds)), data={"points": points}), shapes.Operation)


def test_a_collections_life(client: TestClient) -> None:
    detail = ok(client.get(URL), shapes.CollectionDetail)
    assert detail["config"] == {"params": {"vectors": {"size": D, "distance": "Cosine"}}}
    assert (detail["points_count"], detail["model"]) == (0, None)
    other = "/collections/a.b_c-9"
    assert ok(client.put(other, json={"vectors": {"size": 3, "distance": "Euclid"}}), bool) is True
    names = ok(client.get("/collections"), shapes.CollectionList)
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
        ({"vectors": {"distance": "Dot", "on_disk": True}}, "on_disk"),
    ],
)
def test_bad_collections(client: TestClient, body: dict[str, Any], says: str) -> None:
    refused(client.put("/collections/x", json=body), 422, "invalid_request", says)


@pytest.mark.parametrize("name", [".hidden", "a b", "a'--", "%22", "..%2e", "a" * 129])
def test_bad_names(client: TestClient, name: str) -> None:
    body = {"vectors": {"distance": "Dot"}}
    refused(client.put(f"/collections/{name}", json=body), 422, "invalid_request", "letters")


def test_points_by_vector(client: TestClient) -> None:
    points = [
        {"id": 1, "vector": unit(3, 4), "payload": {"path": "a/b.jpg", "tags": ["x", "y"]}},
        {"id": TOP, "vector": unit(1)},
        {"id": A_UUID.upper().replace("-", ""), "vector": unit(0, 1), "payload": None},
    ]
    assert ok(client.put(POINTS, json={"points": points}), shapes.Operation) == {
        "operation_id": 1,
        "status": "completed",
    }
    record = ok(client.get(f"{POINTS}/1"), shapes.PointRecord)
    assert record == {"id": 1, "payload": points[0]["payload"], "vector": unit(0.6, 0.8)}
    assert ok(client.get(f"{POINTS}/{TOP}"))["id"] == TOP
    assert ok(client.get(f"{POINTS}/{A_UUID}")) == {"id": A_UUID, "payload": {}, "vector": unit(0, 1)}
    assert ok(client.get(URL))["points_count"] == 3
    assert ok(client.get(URL))["model"] is None
    refused(client.get(f"{POINTS}/2"), 404, "point_not_found", "no point '2'")


@pytest.mark.parametrize("identity", [-1, 1 << 64, 1.0, 1.5, "1", "abc", "", True, None, [1], A_UUID[:-1]])
def test_bad_ids(client: TestClient, identity: object) -> None:
    says = "unsigned 64-bit integer or a UUID"
    body = {"points": [{"id": 1, "vector": unit(1)}, {"id": identity, "vector": unit(1)}]}
    refused(client.put(POINTS, json=body), 422, "invalid_request", says)
    assert "points[1].id" in client.put(POINTS, json=body).json()["detail"]
    refused(client.post(f"{POINTS}/delete", json={"points": [identity]}), 422, "invalid_request", says)
    if identity is not None and not isinstance(identity, list):
        refused(client.post(f"{POINTS}/query", json={"query": identity}), 422, "invalid_request", says)
    refused(client.get(f"{POINTS}/1.5"), 422, "invalid_request", says)
    assert ok(client.get(URL))["points_count"] == 0


@pytest.mark.parametrize(
    ("point", "says"),
    [
        ({"vector": [1.0, 2.0]}, "points[1].vector: the vector has 2 components, the collection's size is 8"),
        ({"vector": unit(0)}, "points[1].vector: a vector of zeros"),
        ({"vector": [*unit(1)[:-1], "1"]}, "points[1].vector[7]"),
        ({"vector": [*unit(1)[:-1], True]}, "points[1].vector[7]"),
        ({"vector": unit(1e300)}, "points[1].vector: the vector's length"),
        ({}, "points[1]: Value error, a point has either a vector or an image"),
        ({"vector": unit(1), "image": "AAAA"}, "either a vector or an image"),
        ({"vector": unit(1), "payload": [1]}, "points[1].payload"),
        ({"vector": unit(1), "payload": {"a": "x" * 70_000}}, "points[1].payload: the payload has 70008 bytes"),
        ({"vector": unit(1), "payload": {"a": "\0"}}, "NUL"),
        ({"vector": unit(1), "score": 1}, "points[1].score"),
        ({"image": "http://example.com/a.jpg"}, "points[1].image: images are never fetched by URL"),
    ],
)
def test_bad_points_change_nothing(client: TestClient, point: dict[str, Any], says: str) -> None:
    body = {"points": [{"id": 1, "vector": unit(1)}, {"id": 2, **point}]}
    refused(client.put(POINTS, json=body), 422, "invalid_request", says)
    assert ok(client.get(URL))["points_count"] == 0


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none(client: TestClient, number: str) -> None:
    vector = f"[{number},0,0,0,0,0,0,0]"
    headers = {"content-type": "application/json"}
    for route, body in (
        ("put", f'{{"points": [{{"id": 1, "vector": {vector}}}]}}'),
        ("put", f'{{"points": [{{"id": 1, "vector": [1,0,0,0,0,0,0,0], "payload": {{"a": {number}}}}}]}}'),
        ("post", f'{{"query": {vector}}}'),
        ("post", f'{{"query": [1,0,0,0,0,0,0,0], "score_threshold": {number}}}'),
    ):
        response = client.request(route, POINTS if route == "put" else f"{POINTS}/query", content=body, headers=headers)
        assert response.status_code in (400, 422), (route, body, response.text)
    assert ok(client.get(URL))["points_count"] == 0


def test_sizes_and_media_types(client: TestClient) -> None:
    many = [{"id": i, "vector": unit(1)} for i in range(33)]
    refused(client.put(POINTS, json={"points": many}), 413, "too_many_items", "33 points; the limit is 32")
    refused(client.post(f"{POINTS}/delete", json={"points": list(range(33))}), 413, "too_many_items", "32")
    refused(client.put(POINTS, json={"points": []}), 422, "invalid_request", "at least one")
    refused(client.put(POINTS, content=b"x" * (1 << 20 | 1)), 413, "body_too_large", "1048576")
    refused(client.put(POINTS, content=b"{"), 415, "unsupported_media_type", "application/json or multipart/form-data")
    json_header = {"content-type": "application/json"}
    refused(client.put(POINTS, content=b"{", headers=json_header), 400, "bad_request", "not valid JSON")
    refused(client.post(f"{POINTS}/scroll", content=b"{", headers=json_header), 400, "bad_request", "JSON")
    points = json.dumps([{"id": i} for i in range(33)])
    form = client.put(POINTS, files=files(*[b"x"] * 33), data={"points": points})
    refused(form, 413, "too_many_items", "32")


def test_images_in_json_and_multipart_are_the_same(client: TestClient) -> None:
    put_images(client, 0, 1, 2)
    body = {"points": [{"id": 10 + i, "image": data_uri(photo(i)), "payload": {"seed": i}} for i in range(3)]}
    body["points"].append({"id": 20, "vector": unit(1)})
    response = client.put(POINTS, json=body)
    ok(response, shapes.Operation)
    assert float(response.headers["x-inference-time"]) >= 0
    for seed in range(3):
        first, second = (ok(client.get(f"{POINTS}/{base + seed}")) for base in (0, 10))
        np.testing.assert_allclose(first["vector"], second["vector"], atol=1e-6)
        assert first["payload"] == second["payload"] == {"seed": seed}
        assert np.linalg.norm(first["vector"]) == pytest.approx(1)
    embedded = client.post("/embed?normalize=true", files=files(photo(1))).json()
    np.testing.assert_allclose(ok(client.get(f"{POINTS}/1"))["vector"], embedded["data"][0]["embedding"], atol=1e-6)
    model = ok(client.get(URL))["model"]
    assert model == {"name": embedded["model"], "digest": embedded["digest"]}


def test_a_bad_image_refuses_the_request_and_is_named(client: TestClient) -> None:
    points = json.dumps([{"id": i} for i in range(4)])
    response = client.put(POINTS, files=files(photo(0), truncated(), photo(2), b""), data={"points": points})
    refused(response, 400, "undecodable_image", "files[1]: ")
    assert "; files[3]: " in response.json()["detail"]
    body = {"points": [{"id": 0, "image": data_uri(photo(0))}, {"id": 1, "image": data_uri(b"no image")}]}
    refused(client.put(POINTS, json=body), 415, "unsupported_image", "points[1]: ")
    body["points"][1]["image"] = "not base64!"
    refused(client.put(POINTS, json=body), 400, "undecodable_image", "points[1]: ")
    body["points"][1]["image"] = data_uri(bomb_png())
    refused(client.put(POINTS, json=body), 413, "image_too_large", "points[1]: ")
    assert ok(client.get(URL))["points_count"] == 0
    assert ok(client.get(URL))["model"] is None


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ('[{"id": 1}]', "points: 1 for 2 files"),
        ('[{"id": 1}, {"id": "x"}]', "[1].id"),
        ('[{"id": 1}, {"id": 2, "vector": []}]', "vector"),
    ],
)
def test_bad_forms(client: TestClient, points: str, says: str) -> None:
    two = files(photo(0), photo(1))
    refused(client.put(POINTS, files=two, data={"points": points}), 422, "invalid_request", says)
    refused(client.put(POINTS, files=two), 422, "invalid_request", "one text field `points`")
    refused(client.put(POINTS, files=two, data={"points": "[", "x": "y"}), 422, "invalid_request", "one text field")
    refused(client.put(POINTS, files=two, data={"points": "["}), 400, "bad_request", "JSON")
    wrong = [("images", ("a.jpg", photo(0)))]
    refused(client.put(POINTS, files=wrong, data={"points": points}), 422, "invalid_request", "`files`")
    text = client.put(POINTS, files={"x": ("", b"")}, data={"files": "a", "points": points})
    assert text.status_code in (400, 422)


def test_queries_by_vector_id_and_image(client: TestClient) -> None:
    put_images(client, *range(6))
    vector = ok(client.get(f"{POINTS}/3"))["vector"]
    by_vector = ok(client.post(f"{POINTS}/query", json={"query": vector, "limit": 3}), shapes.QueryResult)["points"]
    assert by_vector[0].keys() == {"id", "version", "score"}
    assert (by_vector[0]["id"], by_vector[0]["version"]) == (3, 1)
    assert by_vector[0]["score"] == pytest.approx(1)
    by_id = ok(client.post(f"{POINTS}/query", json={"query": 3, "limit": 2}))["points"]
    assert [(p["id"], p["score"]) for p in by_id] == [(p["id"], p["score"]) for p in by_vector[1:]]
    options = {"limit": 3, "with_payload": True, "with_vector": True, "params": {"exact": True}}
    response = client.post(f"{POINTS}/query", json={"query": {"image": data_uri(photo(3))}, **options})
    by_image = ok(response, shapes.QueryResult)["points"]
    assert [p["id"] for p in by_image] == [p["id"] for p in by_vector]
    assert (by_image[0]["payload"], len(by_image[0]["vector"])) == ({"seed": 3}, D)
    assert "x-inference-time" in response.headers
    form = {"limit": "2", "with_payload": "true", "filter": json.dumps({"must_not": [{"has_id": [3]}]})}
    by_file = ok(client.post(f"{POINTS}/query", files={"file": ("q.jpg", photo(3))}, data=form))["points"]
    assert [p["id"] for p in by_file] == [p["id"] for p in by_image[1:]]
    assert set(by_file[0]) == {"id", "version", "score", "payload"}
    threshold = by_vector[1]["score"]
    kept = ok(client.post(f"{POINTS}/query", json={"query": vector, "score_threshold": threshold}))["points"]
    assert [p["id"] for p in kept] == [p["id"] for p in by_vector[:2]]
    rest = ok(client.post(f"{POINTS}/query", json={"query": vector, "offset": 1, "limit": 2}))["points"]
    assert rest == by_vector[1:]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "query: Field required"),
        ({"query": [1.0]}, "query: the vector has 1 components"),
        ({"query": unit(0)}, "query: a vector of zeros"),
        ({"query": ["a"]}, "query.vector[0]: "),
        ({"query": {"text": "cat"}}, "query.image.image: "),
        ({"query": unit(1), "limit": 0}, "limit"),
        ({"query": unit(1), "limit": 1001}, "1000"),
        ({"query": unit(1), "offset": -1}, "offset"),
        ({"query": unit(1), "offset": 9999}, "at most 10000"),
        ({"query": unit(1), "top": 3}, "top"),
        ({"query": unit(1), "filter": {"must": [{"key": "a"}]}}, "filter.must[0]"),
        ({"query": unit(1), "filter": []}, "filter"),
    ],
)
def test_bad_queries(client: TestClient, body: dict[str, Any], says: str) -> None:
    refused(client.post(f"{POINTS}/query", json=body), 422, "invalid_request", says)


def test_bad_image_queries(client: TestClient) -> None:
    query = f"{POINTS}/query"
    refused(client.post(query, json={"query": {"image": data_uri(b"x")}}), 415, "unsupported_image", "query: ")
    refused(client.post(query, json={"query": {"image": "https://a/b.jpg"}}), 422, "invalid_request", "never fetched")
    refused(client.post(query, files={"file": truncated()}), 400, "undecodable_image", "query: ")
    refused(client.post(query, files={"file": photo(1)}, data={"filter": "{"}), 422, "invalid_request", "filter: not")
    refused(client.post(query, files={"file": photo(1)}, data={"limit": "x"}), 422, "invalid_request", "limit")
    refused(client.post(query, files={"files": photo(1)}), 422, "invalid_request", "`file`")
    two = [("file", photo(1)), ("file", photo(2))]
    refused(client.post(query, files=two), 413, "too_many_items", "1")
    refused(client.post(query, json={"query": 5}), 404, "point_not_found", "'5'")


def test_batches_of_queries(client: TestClient) -> None:
    put_images(client, *range(4))
    searches = [
        {"query": 2},
        {"query": {"image": data_uri(photo(1))}, "limit": 1},
        {"query": unit(1), "with_payload": True},
    ]
    results = ok(client.post(f"{POINTS}/query/batch", json={"searches": searches}), list[shapes.QueryResult])
    alone = [ok(client.post(f"{POINTS}/query", json=search)) for search in searches]
    assert results == alone
    assert results[1]["points"][0]["id"] == 1
    bad = {"searches": [{"query": 2}, {"query": [1.0]}]}
    refused(client.post(f"{POINTS}/query/batch", json=bad), 422, "invalid_request", "searches[1]: query: the vector")
    bad = {"searches": [{"query": 2}, {"query": {"image": data_uri(b"?")}}]}
    refused(client.post(f"{POINTS}/query/batch", json=bad), 415, "unsupported_image", "searches[1].query: ")
    many = {"searches": [{"query": 2}] * 33}
    refused(client.post(f"{POINTS}/query/batch", json=many), 413, "too_many_items", "32")
    wide = {"searches": [{"query": 2, "limit": 1000}] * 11}
    refused(client.post(f"{POINTS}/query/batch", json=wide), 422, "invalid_request", "more than 10000")


def test_the_models_are_compared_without_counting_points(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    put_images(client, 0)

    def count(*_: object) -> int:
        raise AssertionError("the points were counted")

    monkeypatch.setattr(SqliteStore, "_count", count)
    put_images(client, 1)
    ok(client.post(f"{POINTS}/query", json={"query": {"image": data_uri(photo(1))}}))


def test_a_failure_of_the_server_is_not_told_as_a_bad_image(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(images: object) -> EmbedResult:
        return EmbedResult([UndecodableImage("cut off"), AmclError("the server failed")], Timing(0.0, 0.0, 0.0))

    app = client.app
    assert isinstance(app, FastAPI)
    monkeypatch.setattr(app.state.registry.get().engine, "embed", failing)
    response = client.put(POINTS, files=files(b"a", b"b"), data={"points": '[{"id": 1}, {"id": 2}]'})
    refused(response, 500, "internal_error", "files[0]: cut off; files[1]: the server failed")


@pytest.mark.parametrize("empty", [{}, {"must": []}, {"must_not": None}, {"should": [{"must": []}]}])
def test_a_filter_without_conditions_deletes_nothing(client: TestClient, empty: dict[str, Any]) -> None:
    ok(client.put(POINTS, json={"points": [{"id": 1, "vector": unit(1)}]}))
    refused(client.post(f"{POINTS}/delete", json={"filter": empty}), 422, "invalid_request", "match every point")
    assert ok(client.post(f"{POINTS}/count", json={"filter": empty})) == {"count": 1}
    ok(client.post(f"{POINTS}/delete", json={"filter": {"must": [{"has_id": [1]}]}}))
    assert ok(client.post(f"{POINTS}/count", json={})) == {"count": 0}


def test_scroll_count_and_delete(client: TestClient) -> None:
    points = [{"id": i, "vector": unit(1, i), "payload": {"n": {"half": i // 2}}} for i in range(7)]
    points.append({"id": A_UUID, "vector": unit(1)})
    ok(client.put(POINTS, json={"points": points}))
    seen, offset = [], None
    while True:
        page = ok(client.post(f"{POINTS}/scroll", json={"limit": 3, "offset": offset}), shapes.ScrollPage)
        seen += [point["id"] for point in page["points"]]
        offset = page["next_page_offset"]
        if offset is None:
            break
    assert seen == [*range(7), A_UUID]
    where = {"must": [{"key": "n.half", "match": {"any": [1, 2]}}]}
    page = ok(client.post(f"{POINTS}/scroll", json={"filter": where, "with_payload": False, "with_vector": True}))
    assert [point["id"] for point in page["points"]] == [2, 3, 4, 5]
    assert page["points"][0].keys() == {"id", "vector"}
    assert ok(client.post(f"{POINTS}/count", json={"filter": where, "exact": True}), shapes.Count) == {"count": 4}
    assert ok(client.post(f"{POINTS}/count", json={})) == {"count": 8}
    assert ok(client.post(f"{POINTS}/delete", json={"points": [0, A_UUID, 99]}), shapes.Operation)["operation_id"] == 2
    ok(client.post(f"{POINTS}/delete", json={"filter": where}))
    assert [p["id"] for p in ok(client.post(f"{POINTS}/scroll", json={}))["points"]] == [1, 6]
    for body in ({}, {"points": [1], "filter": {}}):
        refused(client.post(f"{POINTS}/delete", json=body), 422, "invalid_request", "either points")
    refused(client.post(f"{POINTS}/scroll", json={"limit": 1001}), 422, "invalid_request", "limit")


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


def test_a_second_server_on_the_same_folder_is_refused(server: TestClient) -> None:
    second = TestClient(create_app(server.app.state.settings))  # type: ignore[attr-defined]
    with pytest.raises(StorageError, match="in use by another server"):
        second.__enter__()


def test_a_full_disk_is_507(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise StorageFull("the server's disk is full: nothing of this request was stored")

    monkeypatch.setattr(type(client.app.state.collections), "upsert", full)  # type: ignore[attr-defined]
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


def test_ids_in_answers_are_canonical(client: TestClient) -> None:
    ok(client.put(POINTS, json={"points": [{"id": f"urn:uuid:{A_UUID.upper()}", "vector": unit(1)}]}))
    (point,) = ok(client.post(f"{POINTS}/query", json={"query": unit(1)}))["points"]
    assert UUID(point["id"]) == UUID(A_UUID)
    assert point["id"] == A_UUID
