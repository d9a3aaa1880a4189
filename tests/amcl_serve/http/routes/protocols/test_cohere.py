"""/v2/embed with the stock client."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import cohere
import numpy as np
import pytest
from cohere.core import ApiError
from starlette.testclient import TestClient

from amcl_serve.http.answers.encodings import as_binary, as_int8, as_ubinary, as_uint8
from amcl_serve.http.shapes.cohere import CohereAnswer
from tests.amcl_serve.http.conftest import picture
from tests.amcl_serve.http.routes.protocols.asking import KEY, text, unit_features, uri
from tests.fakes import D


@pytest.fixture
def stock(served: str) -> Iterator[cohere.ClientV2]:
    with cohere.ClientV2(api_key=KEY, base_url=served, timeout=30) as client:
        yield client


def test_images_of_the_stock_client(stock: cohere.ClientV2, client: TestClient) -> None:
    answer = stock.embed(model="tiny", input_type="image", images=[uri(1), text(picture(2))], embedding_types=["float"])
    np.testing.assert_allclose(answer.embeddings.float_, unit_features(client, 1, 2), atol=1e-6)
    assert answer.id
    assert answer.meta.billed_units.images == 2


def test_inputs_of_the_stock_client(stock: cohere.ClientV2, client: TestClient) -> None:
    inputs = [{"content": [{"type": "image_url", "image_url": {"url": uri(seed)}}]} for seed in (3, 4)]
    answer = stock.embed(model="default", input_type="search_document", inputs=inputs, output_dimension=D)
    np.testing.assert_allclose(answer.embeddings.float_, unit_features(client, 3, 4), atol=1e-6)


def test_every_form(stock: cohere.ClientV2, client: TestClient) -> None:
    forms = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
    found = stock.embed(model="tiny", input_type="image", images=[uri(1)], embedding_types=forms).embeddings
    (row,) = unit_features(client, 1)
    assert np.abs(np.array(found.int8[0]) - 127 * row).max() <= 0.5 + 1e-4
    assert (np.array(found.uint8[0]) - 128 == found.int8[0]).all()
    assert (np.unpackbits(np.array(found.ubinary[0], np.uint8))[:D] == (row > 0)).all()
    assert (np.array(found.binary[0]) + 128 == found.ubinary[0]).all()
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(found.base64[0]), "<f4"), row, atol=1e-6)


def test_forms_at_their_ends() -> None:
    row = np.array([1, -1, 0, 0.5, -0.5, 1, 1, 1, 1], np.float32)
    assert as_int8(row).tolist() == [127, -127, 0, 64, -64, 127, 127, 127, 127]
    assert as_uint8(row).tolist() == [255, 1, 128, 192, 64, 255, 255, 255, 255]
    assert as_ubinary(row).tolist() == [0b10010111, 0b10000000]
    assert as_binary(row).tolist() == [0b10010111 - 128, 0]


def test_the_answer_is_as_its_schema_says(client: TestClient) -> None:
    response = client.post("/v2/embed", json={"images": [uri(1)], "embedding_types": ["float", "ubinary", "base64"]})
    answer = CohereAnswer.model_validate(response.json())
    assert answer.id == response.headers["x-request-id"]
    assert list(answer.embeddings) == ["float", "ubinary", "base64"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"texts": ["a cat"]}, 422, "this server embeds images, not texts"),
        ({}, 422, "either `images` or `inputs`"),
        ({"images": [uri(1)], "inputs": [{"content": []}]}, 422, "0 images where one is wanted"),
        ({"inputs": [{"content": "a cat"}]}, 422, "[0]: a text: this server embeds images"),
        ({"inputs": ["a cat"]}, 422, 'a list of {"content": [parts]}'),
        ({"inputs": []}, 422, "inputs"),
        ({"images": []}, 422, "images"),
        ({"images": [uri(1)], "embedding_types": ["int4"]}, 422, "embedding_types"),
        ({"images": [uri(1)], "output_dimension": D + 1}, 400, f"has {D}, not {D + 1}"),
        ({"images": [uri(1)], "model": "other"}, 404, "no model 'other' is loaded"),
        ({"images": ["https://example.org/a.png"]}, 422, "images[0]: images are never fetched by URL"),
        ({"images": [uri(1), "data:image/png;base64,AAAA"]}, 415, "images[1]: "),
        ({"images": [uri(1)] * 5}, 413, "the limit is 4 a request"),
    ],
)
def test_what_is_wrong_is_said(client: TestClient, body: dict[str, Any], status: int, said: str) -> None:
    response = client.post("/v2/embed", json=body)
    assert response.status_code == status, response.text
    assert said in response.json()["detail"]


def test_the_stock_client_understands_the_errors(stock: cohere.ClientV2, served: str) -> None:
    with pytest.raises(cohere.NotFoundError, match="no model 'other' is loaded"):
        stock.embed(model="other", input_type="image", images=[uri(1)])
    with (
        cohere.ClientV2(api_key="another", base_url=served, timeout=30) as stranger,
        pytest.raises(ApiError) as refused,
    ):
        stranger.embed(model="tiny", input_type="image", images=[uri(1)])
    assert refused.value.status_code == 401
