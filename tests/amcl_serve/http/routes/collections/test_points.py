from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from amcl_serve.engine.submissions import EmbedResult, Timing
from amcl_serve.errors import AmclError, UndecodableImage
from amcl_serve.http.shapes.points import Count, Operation, PointRecord, ScrollPage
from tests.amcl_serve.http.routes.collections.asking import (
    A_UUID,
    POINTS,
    TOP,
    URL,
    data_uri,
    files,
    ok,
    put_images,
    refused,
    unit,
)
from tests.images import bomb_png, photo, truncated


def test_points_by_vector(client: TestClient) -> None:
    points = [
        {"id": 1, "vector": unit(3, 4), "payload": {"path": "a/b.jpg", "tags": ["x", "y"]}},
        {"id": TOP, "vector": unit(1)},
        {"id": A_UUID.upper().replace("-", ""), "vector": unit(0, 1), "payload": None},
    ]
    assert ok(client.put(POINTS, json={"points": points}), Operation) == {
        "operation_id": 1,
        "status": "completed",
    }
    record = ok(client.get(f"{POINTS}/1"), PointRecord)
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
    many: list[dict[str, Any]] = [{"id": i, "image": ""} for i in range(33)]
    refused(client.put(POINTS, json={"points": many}), 413, "too_many_items", "33 points with images; the limit is 32")
    many = [{"id": i, "vector": unit(1)} for i in range(10_001)]
    refused(client.put(POINTS, json={"points": many}), 413, "too_many_items", "10001 points; the limit is 10000")
    ok(client.put(POINTS, json={"points": many[:1000]}))
    ids = list(range(10_001))
    refused(client.post(f"{POINTS}/delete", json={"points": ids}), 413, "too_many_items", "10001 points")
    ok(client.post(f"{POINTS}/delete", json={"points": ids[1:]}))
    assert ok(client.get(URL))["points_count"] == 1
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
    ok(response, Operation)
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
    refused(client.put(POINTS, json=body), 415, "unsupported_image", "points[1].image: ")
    body["points"][1]["image"] = "not base64!"
    refused(client.put(POINTS, json=body), 400, "undecodable_image", "points[1].image: ")
    body["points"][1]["image"] = data_uri(bomb_png())
    refused(client.put(POINTS, json=body), 413, "image_too_large", "points[1].image: ")
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


def test_a_failure_of_the_server_is_not_told_as_a_bad_image(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(images: object, **_: object) -> EmbedResult:
        return EmbedResult([UndecodableImage("cut off"), AmclError("the server failed")], Timing(0.0, 0.0, 0.0))

    app = client.app
    assert isinstance(app, FastAPI)
    monkeypatch.setattr(app.state.server.registry.get().engine, "embed", failing)
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
        page = ok(client.post(f"{POINTS}/scroll", json={"limit": 3, "offset": offset}), ScrollPage)
        seen += [point["id"] for point in page["points"]]
        offset = page["next_page_offset"]
        if offset is None:
            break
    assert seen == [*range(7), A_UUID]
    where = {"must": [{"key": "n.half", "match": {"any": [1, 2]}}]}
    page = ok(client.post(f"{POINTS}/scroll", json={"filter": where, "with_payload": False, "with_vector": True}))
    assert [point["id"] for point in page["points"]] == [2, 3, 4, 5]
    assert page["points"][0].keys() == {"id", "vector"}
    assert ok(client.post(f"{POINTS}/count", json={"filter": where, "exact": True}), Count) == {"count": 4}
    assert ok(client.post(f"{POINTS}/count", json={})) == {"count": 8}
    assert ok(client.post(f"{POINTS}/delete", json={"points": [0, A_UUID, 99]}), Operation)["operation_id"] == 2
    ok(client.post(f"{POINTS}/delete", json={"filter": where}))
    assert [p["id"] for p in ok(client.post(f"{POINTS}/scroll", json={}))["points"]] == [1, 6]
    for body in ({}, {"points": [1], "filter": {}}):
        refused(client.post(f"{POINTS}/delete", json=body), 422, "invalid_request", "either points")
    refused(client.post(f"{POINTS}/scroll", json={"limit": 1001}), 422, "invalid_request", "limit")


def test_ids_in_answers_are_canonical(client: TestClient) -> None:
    ok(client.put(POINTS, json={"points": [{"id": f"urn:uuid:{A_UUID.upper()}", "vector": unit(1)}]}))
    (point,) = ok(client.post(f"{POINTS}/query", json={"query": unit(1)}))["points"]
    assert UUID(point["id"]) == UUID(A_UUID)
    assert point["id"] == A_UUID
