"""An alias that comes to stand for another model's collection while a request by it is under way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from amcl_serve.http.app import create_app
from amcl_serve.vectors.types import CreateAlias
from tests.amcl_serve.http.routes.collections.asking import data_uri, make_settings, ok
from tests.fakes import make_bundle
from tests.images import photo

IMAGE = {"image": data_uri(photo(1))}


@pytest.fixture
def client(tiny_bundle: Path, tmp_path: Path) -> Iterator[TestClient]:
    """Collections `tiny` and `other` of the models of these names, and the alias `live` of the first."""
    bundles = (str(tiny_bundle), str(make_bundle(tmp_path / "other", name="other", seed=1)))
    settings = make_settings(tiny_bundle, tmp_path / "data").model_copy(update={"model": bundles})
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        for name in ("tiny", "other"):
            ok(client.put(f"/collections/{name}?model={name}", json={"vectors": {"distance": "Cosine"}}))
            points = [{"id": seed, "image": data_uri(photo(seed))} for seed in (1, 2)]
            ok(client.put(f"/collections/{name}/points?model={name}", json={"points": points}))
        stand_for(client, "tiny")
        yield client


def stand_for(client: Any, name: str) -> None:
    actions = [{"create_alias": {"alias_name": "live", "collection_name": name}}]
    ok(client.post("/collections/aliases", json={"actions": actions}))


@pytest.fixture
def moving(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """From now on the alias moves to `other` once an image has been embedded by `tiny`; the moves."""
    app: Any = client.app
    server = app.state.server
    engine, moves = server.registry.get("tiny").engine, []
    embed = engine.embed

    async def moved(*args: Any, **options: Any) -> Any:
        found = await embed(*args, **options)
        server.collections.change_aliases([CreateAlias("live", "other")])
        moves.append("other")
        return found

    monkeypatch.setattr(engine, "embed", moved)
    return moves


def test_a_search_is_answered_by_the_collection_that_it_came_for(client: TestClient, moving: list[str]) -> None:
    points = ok(client.post("/collections/live/points/query", json={"query": IMAGE}))["points"]
    assert moving == ["other"]
    assert (points[0]["id"], round(points[0]["score"], 5)) == (1, 1.0)
    points = ok(client.post("/collections/live/points/query", json={"query": IMAGE}))["points"]
    assert moving == ["other"]
    assert (points[0]["id"], round(points[0]["score"], 5)) == (1, 1.0)


def test_a_write_goes_where_the_alias_stands_now(client: TestClient, moving: list[str]) -> None:
    body = {"points": [{"id": 9, "image": data_uri(photo(9))}]}
    ok(client.put("/collections/live/points", json=body))
    assert moving == ["other"]
    assert ok(client.get("/collections/tiny"))["points_count"] == 2
    assert ok(client.get("/collections/other"))["points_count"] == 3
    hits = ok(client.post("/collections/other/points/query", json={"query": {"image": data_uri(photo(9))}}))["points"]
    assert (hits[0]["id"], round(hits[0]["score"], 5)) == (9, 1.0)


def test_a_write_for_one_model_is_refused_by_the_collection_of_another(client: TestClient, moving: list[str]) -> None:
    response = client.put("/collections/live/points?model=tiny", json={"points": [{"id": 9, **IMAGE}]})
    assert (response.status_code, response.json()["code"]) == (409, "collection_mismatch")
