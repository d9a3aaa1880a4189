"""A wrong body costs the server one error or two, however many things are wrong in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from starlette.testclient import TestClient

from amcl_serve.http.routes.points import FILE_POINTS
from amcl_serve.http.shapes.collections import CreateRequest
from amcl_serve.http.shapes.embed import EmbedRequest
from amcl_serve.http.shapes.points import DeleteRequest, UpsertRequest
from amcl_serve.http.shapes.search import QueryBatchRequest, QueryRequest
from amcl_serve.http.shapes.similarity import SimilarityRequest

NUMBERS = [0] * 300_000
TEXTS = ["x"] * 300_000
MEMBERS = {f"unknown{number}": 0 for number in range(10_000)}


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (EmbedRequest, {"images": NUMBERS}),
        (EmbedRequest, {"images": ["a"], "outputs": TEXTS}),
        (EmbedRequest, {"images": ["a"]} | MEMBERS),
        (SimilarityRequest, {"a": NUMBERS, "b": ["x"]}),
        (SimilarityRequest, {"a": ["x"], "b": [MEMBERS]}),
        (UpsertRequest, {"points": NUMBERS}),
        (UpsertRequest, {"points": [{"id": 1, "vector": TEXTS}]}),
        (UpsertRequest, {"points": [{"id": 1, "vector": [1.0]} | MEMBERS]}),
        (DeleteRequest, {"points": TEXTS}),
        (DeleteRequest, MEMBERS),
        (QueryRequest, {"query": TEXTS}),
        (QueryRequest, {"query": MEMBERS}),
        (QueryBatchRequest, {"searches": NUMBERS}),
        (CreateRequest, {"vectors": MEMBERS}),
    ],
)
def test_few_errors_are_built(model: type[BaseModel], body: dict[str, Any]) -> None:
    for validate, value in ((model.model_validate, body), (model.model_validate_json, json.dumps(body))):
        with pytest.raises(ValidationError) as caught:
            validate(value)
        assert caught.value.error_count() <= 2


def test_few_errors_are_built_of_a_forms_points() -> None:
    with pytest.raises(ValidationError) as caught:
        FILE_POINTS.validate_json(json.dumps(NUMBERS))
    assert caught.value.error_count() == 1


def test_the_answer_names_the_first(client: TestClient) -> None:
    response = client.post("/embed", json={"images": [0] * 10_000})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert response.json()["detail"] == "images[0]: Input should be a valid string"
    response = client.post("/collections/c/points/delete", json={f"m{number}": 0 for number in range(1000)})
    assert response.status_code == 422
    assert "unknown field 'm0'; there are points, filter" in response.json()["detail"]
