"""`rerank=pairs`: the best by vector, ordered by what /similarity says of each with the image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from amcl_serve.http.app import create_app
from amcl_serve.http.shapes.search import QueryResult
from tests.amcl_serve.http.routes.collections.asking import data_uri, files, make_settings, ok, refused, unit
from tests.fakes import D, make_bundle
from tests.images import photo

pytestmark = pytest.mark.sqlite_only
URL = "/collections/paired"
POINTS = f"{URL}/points"
IMAGES = 24


@pytest.fixture
def paired(client: TestClient) -> TestClient:
    """A server with a collection that keeps the heads of photos 0 to 23."""
    ok(client.put(URL, json={"vectors": {"distance": "Cosine"}, "heads": True}))
    points = json.dumps([{"id": seed, "payload": {"seed": seed}} for seed in range(IMAGES)])
    ok(client.put(POINTS, files=files(*(photo(seed) for seed in range(IMAGES))), data={"points": points}))
    return client


def query(client: TestClient, **options: Any) -> list[dict[str, Any]]:
    """Of photo 99."""
    body = {"query": {"image": data_uri(photo(99))}, "limit": 5, **options}
    points: list[dict[str, Any]] = ok(client.post(f"{POINTS}/query", json=body), QueryResult)["points"]
    return points


def pair_scores(client: TestClient, ids: list[int]) -> list[float]:
    """What /similarity gives photo 99 with those of the points."""
    body = {"a": [data_uri(photo(99))], "b": [data_uri(photo(i)) for i in ids], "mode": "cross"}
    scores: list[float] = client.post("/similarity", json=body).json()["data"]["score"][0]
    return scores


def test_all_are_ordered_by_the_scores_of_their_pairs(paired: TestClient) -> None:
    by_vector = query(paired, limit=IMAGES)
    found = query(paired, limit=IMAGES, rerank="pairs")
    assert {point["id"] for point in found} == set(range(IMAGES))
    scores = [point["score"] for point in found]
    assert scores == sorted(scores, reverse=True)
    assert scores == pytest.approx(pair_scores(paired, [point["id"] for point in found]), abs=1e-3)
    assert {p["id"]: p["vector_score"] for p in found} == {p["id"]: p["score"] for p in by_vector}
    assert [p["id"] for p in found] != [p["id"] for p in by_vector]  # else this shows nothing
    assert "vector_score" not in by_vector[0]


def test_only_the_best_by_vector_are_candidates(paired: TestClient) -> None:
    best = {point["id"] for point in query(paired, limit=6)}
    found = query(paired, limit=6, rerank="pairs", candidates=6, with_payload=True)
    assert {point["id"] for point in found} == best
    assert all(point["payload"] == {"seed": point["id"]} for point in found)
    everything = query(paired, limit=IMAGES, rerank="pairs")
    assert query(paired, limit=3, offset=4, rerank="pairs") == everything[4:7]
    assert query(paired, limit=IMAGES, rerank="pairs", score_threshold=everything[2]["score"]) == everything[:3]
    odd = {"must_not": [{"has_id": [point["id"] for point in everything[:3]]}]}
    assert query(paired, limit=3, rerank="pairs", filter=odd) == everything[3:6]


def test_a_form_and_a_batch(paired: TestClient) -> None:
    expected = query(paired, rerank="pairs", candidates=10)
    form = {"limit": "5", "rerank": "pairs", "candidates": "10"}
    assert ok(paired.post(f"{POINTS}/query", files={"file": photo(99)}, data=form))["points"] == expected
    image = {"image": data_uri(photo(99))}
    plain = {"recommend": {"positive": [1, image]}}
    searches = [{"query": plain}, {"query": {"nearest": image}, "limit": 5, "rerank": "pairs", "candidates": 10}]
    results = ok(paired.post(f"{POINTS}/query/batch", json={"searches": searches}))
    assert results[1]["points"] == expected
    assert "vector_score" not in results[0]["points"][0]


def test_an_empty_collection(client: TestClient) -> None:
    ok(client.put(URL, json={"vectors": {"distance": "Cosine"}, "heads": True}))
    assert query(client, rerank="pairs") == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"query": unit(1), "rerank": "pairs"}, "rerank: only a query by one image"),
        ({"query": 3, "rerank": "pairs"}, "rerank: only a query by one image"),
        ({"rerank": "heads"}, "rerank"),
        ({"candidates": 5}, "say rerank too"),
        ({"rerank": "pairs", "candidates": 1001}, "1000"),
        ({"rerank": "pairs", "candidates": 3, "limit": 4}, "limit + offset"),
        ({"rerank": "pairs", "limit": 10, "offset": 991}, "limit + offset"),
    ],
)
def test_what_cannot_be_reranked(paired: TestClient, options: dict[str, Any], says: str) -> None:
    body = {"query": {"image": data_uri(photo(99))}, **options}
    refused(paired.post(f"{POINTS}/query", json=body), 422, "invalid_request", says)
    if "candidates" not in options:
        group = {**body, "group_by": "seed", "rerank": "pairs"}
        refused(paired.post(f"{POINTS}/query/groups", json=group), 422, "invalid_request", "rerank")


def test_a_collection_without_heads(client: TestClient) -> None:
    body = {"query": {"image": data_uri(photo(99))}, "rerank": "pairs"}
    response = client.post("/collections/photos/points/query", json=body)
    refused(response, 422, "invalid_request", "'photos' keeps no heads")


def test_a_point_by_its_vector_has_no_heads(paired: TestClient) -> None:
    response = paired.put(POINTS, json={"points": [{"id": 99, "vector": unit(1)}]})
    refused(response, 422, "invalid_request", "keeps heads")
    assert ok(paired.get(URL))["points_count"] == IMAGES


def test_a_model_without_heads(tmp_path: Path) -> None:
    bundles = [make_bundle(tmp_path / "with"), make_bundle(tmp_path / "without", name="plain", heads=False)]
    settings = make_settings(bundles[1], tmp_path / "data")
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        body = {"vectors": {"distance": "Cosine"}, "heads": True}
        refused(client.put(URL, json=body), 422, "invalid_request", f"size {D} has heads")
    both = settings.model_copy(update={"model": tuple(map(str, bundles))})
    with TestClient(create_app(both), raise_server_exceptions=False) as client:
        refused(client.put(f"{URL}?model=plain", json=body), 422, "invalid_request", "has heads")
        ok(client.put(URL, json=body))
        points = {"points": [{"id": 1, "image": data_uri(photo(1))}]}
        refused(client.put(f"{POINTS}?model=plain", json=points), 422, "invalid_request", "plain has none")
        ok(client.put(POINTS, json=points))
        assert query(client, rerank="pairs")[0]["id"] == 1
