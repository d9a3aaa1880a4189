"""/v1/embeddings in the forms of others that speak like OpenAI: Jina's objects and vLLM's messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.amcl_serve.http.conftest import picture
from tests.amcl_serve.http.routes.protocols.asking import text, unit_features, uri
from tests.fakes import D


def user(*parts: dict[str, Any] | str) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def shown(seed: int) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": uri(seed)}}


def vectors(client: TestClient, **body: Any) -> np.ndarray[Any, Any]:
    response = client.post("/v1/embeddings", json=body)
    assert response.status_code == 200, response.text
    data = response.json()["data"]
    assert [item["index"] for item in data] == list(range(len(data)))
    return np.array([item["embedding"] for item in data])


def test_jinas_objects(client: TestClient) -> None:
    found = vectors(
        client, model="tiny", task="retrieval", input=[{"image": uri(1)}, {"bytes": text(picture(2))}, uri(3)]
    )
    np.testing.assert_allclose(found, unit_features(client, 1, 2, 3), atol=1e-6)


def test_jinas_bits(client: TestClient) -> None:
    features = unit_features(client, 1)
    unsigned = vectors(client, input=[{"image": uri(1)}], encoding_type="ubinary")
    signed = vectors(client, input=[{"image": uri(1)}], encoding_type="binary")
    assert (np.unpackbits(unsigned.astype(np.uint8), axis=1)[:, :D] == (features > 0)).all()
    assert (signed + 128 == unsigned).all()


def test_one_conversation_and_several(client: TestClient) -> None:
    """As vLLM's examples and mteb send them."""
    (one,) = vectors(client, model="tiny", messages=[user(shown(1))], encoding_format="float")
    several = vectors(
        client,
        messages=[
            [{"role": "system", "content": ""}, user(shown(1))],
            [user({"type": "text", "text": " "}, {"type": "image_url", "image_url": uri(2)})],
        ],
    )
    right = unit_features(client, 1, 2)
    np.testing.assert_allclose(one, right[0], atol=1e-6)
    np.testing.assert_allclose(several, right, atol=1e-6)


def test_what_gateways_add_is_passed_over(client: TestClient) -> None:
    assert len(vectors(client, input=uri(1), modality="image", input_type="image", user="someone")) == 1
    response = client.post("/v1/embeddings", json={"input": uri(1), "truncate_prompt_tokens": 5})
    assert (response.status_code, "truncate_prompt_tokens" in response.json()["detail"]) == (422, True)


TEXT = {"type": "text", "text": "Represent the given image."}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "either `input` or `messages`"),
        ({"input": uri(1), "messages": [user(shown(1))]}, "either `input` or `messages`"),
        ({"input": [{"text": "a cat"}]}, "[0] is a text: this server embeds images, not texts"),
        ({"input": [uri(1), {"image": uri(1), "text": "a cat"}]}, '[1]: an object is {"image"'),
        ({"input": [{"image": 5}]}, '[0]: an object is {"image"'),
        ({"input": [{}]}, '[0]: an object is {"image"'),
        ({"input": [{"url": "https://example.org/a.png"}]}, "input[0]: images are never fetched by URL"),
        ({"input": uri(1), "encoding_type": "int4"}, "encoding_type"),
        ({"input": uri(1), "encoding_type": "binary", "encoding_format": "float"}, "are one thing"),
        ({"messages": []}, "a conversation is a list of messages"),
        ({"messages": "a cat"}, "a conversation is a list of messages"),
        ({"messages": [[]]}, "conversation 0: 0 images where one is wanted"),
        ({"messages": [user(shown(1), shown(2))]}, "conversation 0: 2 images where one is wanted"),
        ({"messages": [[user(shown(1))], [user(shown(1), TEXT)]]}, "conversation 1: a text: this server embeds images"),
        ({"messages": [{"role": "user", "content": "a cat"}]}, "conversation 0: a text"),
        ({"messages": [user({"type": "input_audio"})]}, 'conversation 0: a part is {"type": "image_url"'),
        ({"messages": [user({"type": "image_url", "image_url": "http://x/a"})]}, "conversation 0: images are never"),
        ({"messages": [[user(shown(1))], user(shown(2))]}, "[1]: a conversation is a list of messages"),
        ({"messages": [user(shown(1))] * 1 + [5]}, "[0]: a conversation is a list of messages"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(client: TestClient, body: dict[str, Any], said: str) -> None:
    response = client.post("/v1/embeddings", json=body)
    assert response.status_code == 422
    assert said in response.json()["detail"]
    assert response.json()["error"]["message"] == response.json()["detail"]


def test_a_bad_image_is_named_by_its_conversation(client: TestClient) -> None:
    bad = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    response = client.post("/v1/embeddings", json={"messages": [[user(shown(1))], [user(bad)]]})
    assert response.status_code == 415
    assert response.json()["detail"].startswith("conversation 1: ")
    assert [(item["operand"], item["index"]) for item in response.json()["errors"]] == [("messages", 1)]


def test_conversations_are_counted(client: TestClient) -> None:
    response = client.post("/v1/embeddings", json={"messages": [[user(shown(1))]] * 5})
    assert (response.status_code, response.json()["code"]) == (413, "too_many_items")
