from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from amcl_serve.http.shapes.search import QueryResult
from tests.amcl_serve.http.routes.collections.asking import (
    POINTS,
    data_uri,
    ok,
    put_images,
    refused,
    unit,
)
from tests.fakes import D
from tests.images import photo, truncated


def test_queries_by_vector_id_and_image(client: TestClient) -> None:
    put_images(client, *range(6))
    vector = ok(client.get(f"{POINTS}/3"))["vector"]
    by_vector = ok(client.post(f"{POINTS}/query", json={"query": vector, "limit": 3}), QueryResult)["points"]
    assert by_vector[0].keys() == {"id", "version", "score"}
    assert (by_vector[0]["id"], by_vector[0]["version"]) == (3, 1)
    assert by_vector[0]["score"] == pytest.approx(1)
    by_id = ok(client.post(f"{POINTS}/query", json={"query": 3, "limit": 2}))["points"]
    assert [(p["id"], p["score"]) for p in by_id] == [(p["id"], p["score"]) for p in by_vector[1:]]
    options = {"limit": 3, "with_payload": True, "with_vector": True, "params": {"exact": True}}
    response = client.post(f"{POINTS}/query", json={"query": {"image": data_uri(photo(3))}, **options})
    by_image = ok(response, QueryResult)["points"]
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
        ({"query": [1.0]}, "query: the vector has 1 components"),
        ({"query": unit(0)}, "query: a vector of zeros"),
        ({"query": ["a"]}, "query[0]: "),
        ({"query": {"text": "cat"}}, "query.image: "),
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
    results = ok(client.post(f"{POINTS}/query/batch", json={"searches": searches}), list[QueryResult])
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


def test_what_payloads_an_answer_holds_is_bounded(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each search of a batch may find the same long ones."""
    put_images(client, *range(4))
    size = 4 * len('{"seed":0}')
    monkeypatch.setattr("amcl_serve.http.answers.envelope.MAX_PAYLOADS", 2 * size)
    batch, search = f"{POINTS}/query/batch", {"query": unit(1), "with_payload": True}
    assert len(ok(client.post(batch, json={"searches": [search] * 2}))) == 2
    refused(client.post(batch, json={"searches": [search] * 3}), 422, "invalid_request", "leave the payloads out")
    assert len(ok(client.post(batch, json={"searches": [{"query": unit(1)}] * 3}))) == 3
