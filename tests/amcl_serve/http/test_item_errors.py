"""What is wrong with single items is data: every problem that is due to some of them lists them as `errors`."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from starlette.testclient import TestClient

from amcl_serve.http.shapes.problem import Problem
from tests.amcl_serve.http.conftest import picture

GOOD, BAD, URL = base64.b64encode(picture(1)).decode(), "?", "https://example.org/cat.jpg"
VECTOR = [1.0] * 8
POINTS = "/collections/faults/points"


@pytest.fixture(autouse=True)
def _collection(client: TestClient) -> None:
    client.delete("/collections/faults")
    client.put("/collections/faults", json={"vectors": {"distance": "Cosine"}})


def form(*contents: tuple[str, bytes]) -> list[Any]:
    return [(name, ("f", content)) for name, content in contents]


CASES: dict[str, tuple[str, str, dict[str, Any], list[tuple[str, int, str]]]] = {
    "a single image": ("POST", "/embed", {"files": form(("files", b"?"))}, [("files", 0, "unsupported_image")]),
    "a raw image": (
        "POST", "/embed", {"content": b"", "headers": {"content-type": "image/png"}}, [("images", 0, "empty_image")],
    ),
    "an address": ("POST", "/embed", {"json": {"images": [GOOD, URL]}}, [("images", 1, "invalid_request")]),
    "one of a pair": (
        "POST", "/similarity", {"files": form(("a", picture(1)), ("b", b""))}, [("b", 0, "empty_image")],
    ),
    "both of a pair": (
        "POST", "/similarity", {"json": {"a": [BAD], "b": [BAD]}},
        [("a", 0, "undecodable_image"), ("b", 0, "undecodable_image")],
    ),
    "a stored point": (
        "POST", "/similarity", {"json": {"a": [GOOD], "b": [{"collection": "c", "id": 1}]}},
        [("b", 0, "invalid_request")],
    ),
    "for OpenAI's clients": (
        "POST", "/v1/embeddings", {"json": {"model": "tiny", "input": [GOOD, BAD]}},
        [("input", 1, "undecodable_image")],
    ),
    "images of points": (
        "PUT", POINTS,
        {"json": {"points": [{"id": 0, "image": BAD}, {"id": 1, "vector": VECTOR}, {"id": 2, "image": BAD}]}},
        [("points", 0, "undecodable_image"), ("points", 2, "undecodable_image")],
    ),
    "files of points": (
        "PUT", POINTS,
        {"files": form(("files", picture(1)), ("files", b"")), "data": {"points": '[{"id": 0}, {"id": 1}]'}},
        [("files", 1, "empty_image")],
    ),
    "an image to search by": (
        "POST", f"{POINTS}/query", {"json": {"query": {"image": BAD}}}, [("query", 0, "undecodable_image")],
    ),
    "one of many searches by image": (
        "POST", f"{POINTS}/query/batch", {"json": {"searches": [{"query": VECTOR}, {"query": {"image": BAD}}]}},
        [("searches", 1, "undecodable_image")],
    ),
    "one of many searches": (
        "POST", f"{POINTS}/query/batch", {"json": {"searches": [{"query": VECTOR}, {"query": VECTOR[1:]}]}},
        [("searches", 1, "invalid_request")],
    ),
    "a vector": (
        "PUT", POINTS, {"json": {"points": [{"id": 0, "vector": VECTOR}, {"id": 1, "vector": VECTOR[1:]}]}},
        [("points", 1, "invalid_request")],
    ),
    "a payload": (
        "PUT", POINTS, {"json": {"points": [{"id": 0, "vector": VECTOR, "payload": {"a": "\0"}}]}},
        [("points", 0, "invalid_request")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_problem_lists_the_items_it_is_due_to(client: TestClient, name: str) -> None:
    method, path, body, expected = CASES[name]
    response = client.request(method, path, **body)
    problem = Problem.model_validate(response.json())
    assert response.status_code >= 400
    assert problem.errors is not None
    assert [(item.operand, item.index, item.code) for item in problem.errors] == expected
    assert problem.code == expected[0][2]
    for item in problem.errors:
        assert item.detail in problem.detail or len(problem.errors) > 1
        assert f"{item.operand}[" not in item.detail  # the sentence is about the item, which the others name


def test_other_problems_have_none(client: TestClient) -> None:
    assert "errors" not in client.get("/models/none").json()
    assert "errors" not in client.post("/embed", json={"images": []}).json()
