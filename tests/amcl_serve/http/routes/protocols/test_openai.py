from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import openai
import pytest
from starlette.testclient import TestClient

from amcl_serve.http.shapes.openai import EmbeddingsAnswer, OpenAIError
from amcl_serve.http.shapes.problem import Problem
from tests.amcl_serve.http.conftest import LIMITS, picture
from tests.amcl_serve.http.routes.protocols.asking import KEY, text, unit_features, uri
from tests.fakes import D


@pytest.fixture
def stock(served: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served}/v1", api_key=KEY, max_retries=0, timeout=30) as client:
        yield client


def test_the_stock_client_gets_unit_norm_features(stock: openai.OpenAI, client: TestClient) -> None:
    answer = stock.embeddings.create(model="tiny", input=[uri(1), text(picture(2))])
    assert (answer.object, answer.model, [item.index for item in answer.data]) == ("list", "tiny", [0, 1])
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (2, 2)
    found = np.array([item.embedding for item in answer.data])
    assert found.shape == (2, D)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found, unit_features(client, 1, 2), atol=1e-6)


async def _asynchronously(base: str) -> Any:
    async with openai.AsyncOpenAI(base_url=base, api_key=KEY, max_retries=0, timeout=30) as client:
        names = [model.id async for model in client.models.list()]
        return names, await client.embeddings.create(model="default", input=uri(3), dimensions=D)


def test_the_stock_asynchronous_client(served: str, client: TestClient) -> None:
    import asyncio

    names, answer = asyncio.run(_asynchronously(f"{served}/v1"))
    assert names == ["tiny"]
    assert answer.model == "tiny"
    np.testing.assert_allclose([answer.data[0].embedding], unit_features(client, 3), atol=1e-6)


def test_the_stock_client_lists_models(stock: openai.OpenAI) -> None:
    assert [(model.id, model.object) for model in stock.models.list()] == [("tiny", "model")]
    assert stock.models.retrieve("tiny").id == "tiny"


def test_the_stock_client_understands_the_errors(stock: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no model 'other' is loaded") as missing:
        stock.embeddings.create(model="other", input=uri(1))
    assert (missing.value.code, missing.value.type, missing.value.param) == (
        "model_not_found",
        "invalid_request_error",
        None,
    )
    with pytest.raises(openai.BadRequestError, match=f"dimensions: tiny has {D}, not 3") as shorter:
        stock.embeddings.create(model="tiny", input=uri(1), dimensions=3)
    assert shorter.value.code == "bad_request"
    with pytest.raises(openai.BadRequestError, match=r"input\[1\]: ") as bad:
        stock.embeddings.create(model="tiny", input=[uri(1), text(picture(2)[:60])])
    assert bad.value.code == "undecodable_image"


def test_a_key_that_is_wrong(served: str) -> None:
    with (
        openai.OpenAI(base_url=f"{served}/v1", api_key="wrong", max_retries=0, timeout=30) as client,
        pytest.raises(openai.AuthenticationError, match="none of this server's") as refused,
    ):
        client.embeddings.create(model="tiny", input=uri(1))
    assert refused.value.code == "unauthorized"


def test_a_client_without_a_key_is_refused_before_it_sends_its_image(served: str) -> None:
    head = "POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 60000\r\n"
    with socket.create_connection(("127.0.0.1", urlsplit(served).port), timeout=30) as connection:
        connection.sendall(f"{head}expect: 100-continue\r\n\r\n".encode())
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 401 ")  # not 100 Continue


def test_float_and_base64_are_the_same_numbers(client: TestClient) -> None:
    answers = {}
    for form in ("float", "base64", None):
        body = {"input": [uri(1), uri(2)], "model": "tiny"} | ({"encoding_format": form} if form else {})
        response = client.post("/v1/embeddings", json=body)
        EmbeddingsAnswer.model_validate(response.json())
        assert float(response.headers["x-inference-time"]) >= 0
        answers[form] = [item["embedding"] for item in response.json()["data"]]
    decoded = [np.frombuffer(base64.b64decode(row), "<f4") for row in answers["base64"]]
    np.testing.assert_array_equal(np.array(decoded), np.array(answers["float"], np.float32))
    assert answers[None] == answers["float"]


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        ({"input": "?"}, 400, "undecodable_image", "input: "),
        ({"input": [""]}, 400, "empty_image", "input[0]: "),
        ({"input": text(b"plain text")}, 415, "unsupported_image", "input: "),
        ({"input": ["https://example.org/a.png"]}, 422, "invalid_request", "input[0]: images are never fetched"),
        ({"input": []}, 422, "invalid_request", "at least 1 item"),
        ({"input": "", "dimensions": "8"}, 422, "invalid_request", "dimensions"),
        ({"input": [1, 2]}, 422, "invalid_request", "input"),
        ({}, 422, "invalid_request", "input"),
        ({"input": "", "colour": 1}, 422, "invalid_request", "colour: "),
        ({"input": "", "encoding_format": "int8"}, 422, "invalid_request", "encoding_format"),
        ({"input": "", "dimensions": D + 1}, 400, "bad_request", "dimensions: "),
        ({"input": [""] * (LIMITS["max_items"] + 1)}, 413, "too_many_items", "5 images in `input`"),
    ],
)
def test_errors_name_the_place(client: TestClient, body: Any, status: int, code: str, said: str) -> None:
    response = client.post("/v1/embeddings", json={"model": "tiny"} | body)
    assert response.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate(response.json())
    assert (response.status_code, problem.status, problem.code) == (status, status, code)
    assert said in problem.detail
    assert problem.error == OpenAIError(message=problem.detail, type="invalid_request_error", code=code)


def test_another_content_type_is_415(client: TestClient) -> None:
    response = client.post("/v1/embeddings", content=picture(1), headers={"content-type": "image/png"})
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")
    broken = client.post("/v1/embeddings", content="{", headers={"content-type": "application/json"})
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "bad_request")


def test_a_model_that_is_not_loaded(client: TestClient) -> None:
    response = client.get("/v1/models/other")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
    assert json.loads(client.get("/v1/models/default").content)["id"] == "tiny"


def test_a_route_that_is_not_there_is_an_openai_error_too(client: TestClient) -> None:
    error = client.post("/v1/chat/completions", json={}).json()["error"]
    assert (error["code"], error["type"]) == ("not_found", "invalid_request_error")
