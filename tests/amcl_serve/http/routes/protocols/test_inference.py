"""The Open Inference Protocol with Triton's client, and by hand where that client sends nothing wrong."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from starlette.testclient import TestClient
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from tests.amcl_serve.http.conftest import picture
from tests.amcl_serve.http.routes.protocols.asking import KEY, text, uri
from tests.fakes import HEAD_DIM, C, D

KEYS = {"X-API-Key": KEY}
INFER = "/v2/models/tiny/infer"


@pytest.fixture
def stock(served: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(urlsplit(served).netloc) as client:
        yield client


def tensor(*images: bytes, shape: list[int] | None = None) -> triton.InferInput:
    found = triton.InferInput("image", shape or [len(images)], "BYTES")
    return found.set_data_from_numpy(np.array(images, object).reshape(found.shape()), binary_data=True)


def outputs(client: TestClient, *seeds: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    files = [("files", (f"{seed}.png", picture(seed))) for seed in seeds]
    data = client.post("/embed?outputs=features&outputs=heads", files=files).json()["data"]
    return tuple(np.array([item[name] for item in data], np.float32) for name in ("embedding", "heads"))  # type: ignore[return-value]


def test_the_stock_client_finds_what_it_needs(stock: triton.InferenceServerClient) -> None:
    assert stock.is_server_live()
    assert stock.is_server_ready()
    assert stock.is_model_ready("tiny", headers=KEYS)
    assert not stock.is_model_ready("other", headers=KEYS)
    server = stock.get_server_metadata(headers=KEYS)
    assert (server["name"], server["extensions"]) == ("amcl-serve", ["binary_tensor_data"])
    model = stock.get_model_metadata("default", headers=KEYS)
    assert model["name"] == "tiny"
    assert model["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert model["outputs"] == [
        {"name": "features", "datatype": "FP32", "shape": [-1, D]},
        {"name": "heads", "datatype": "FP32", "shape": [-1, C, HEAD_DIM]},
    ]


@pytest.mark.parametrize("shape", [[2], [2, 1]])
def test_the_stock_client_embeds(stock: triton.InferenceServerClient, client: TestClient, shape: list[int]) -> None:
    answer = stock.infer("tiny", [tensor(picture(1), picture(2), shape=shape)], request_id="mine", headers=KEYS)
    features, heads = outputs(client, 1, 2)
    np.testing.assert_allclose(answer.as_numpy("features"), features, atol=1e-6)
    np.testing.assert_allclose(answer.as_numpy("heads"), heads, atol=1e-6)
    said = answer.get_response()
    assert (said["id"], said["model_name"]) == ("mine", "tiny")


@pytest.mark.parametrize("binary", [True, False])
def test_the_stock_client_chooses_outputs(
    stock: triton.InferenceServerClient, client: TestClient, binary: bool
) -> None:
    wanted = [triton.InferRequestedOutput("heads", binary_data=binary)]
    answer = stock.infer("default", [tensor(picture(3))], outputs=wanted, headers=KEYS)
    np.testing.assert_allclose(answer.as_numpy("heads"), outputs(client, 3)[1], atol=1e-6)
    assert answer.as_numpy("features") is None
    assert ("data" in answer.get_output("heads")) is not binary


def test_the_stock_client_understands_the_errors(stock: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="no model 'other' is loaded"):
        stock.infer("other", [tensor(picture(1))], headers=KEYS)
    with pytest.raises(InferenceServerException, match="this server asks for a key"):
        stock.infer("tiny", [tensor(picture(1))])
    with pytest.raises(InferenceServerException, match=r"image\[1\]: "):
        stock.infer("tiny", [tensor(picture(1), b"no image")], headers=KEYS)


def asked(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [uri(1)]} | changes]}


def test_base64_in_json(client: TestClient) -> None:
    body = asked(shape=[2], data=[uri(1), text(picture(2))])
    answer = client.post(INFER, json=body)
    assert answer.headers["content-type"] == "application/json"
    found = {output["name"]: np.reshape(output["data"], output["shape"]) for output in answer.json()["outputs"]}
    for name, right in zip(("features", "heads"), outputs(client, 1, 2), strict=True):
        np.testing.assert_allclose(found[name], right, atol=1e-6)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"inputs": []}, 422, "inputs"),
        ({"inputs": asked()["inputs"] * 2}, 422, "inputs"),
        (asked(name="pixels"), 422, "the input is 'pixels', BYTES; it is 'image', BYTES"),
        (asked(datatype="FP32"), 422, "'image', FP32; it is 'image', BYTES"),
        (asked(shape=[2]), 422, "its shape is [2], and it holds 1 images"),
        (asked(shape=[1, 2]), 422, "its shape is [1, 2]"),
        (asked(shape=[0], data=[]), 422, "no image"),
        (asked(data=None), 422, "in `data`, or behind the JSON"),
        (asked(data=["http://x/a.png"]), 422, "image[0]: images are never fetched by URL"),
        (asked(data=["x"]), 400, "image[0]: not base64"),
        (asked(shape=[5], data=[uri(1)] * 5), 413, "5 images; the limit is 4 a request"),
        (asked() | {"outputs": [{"name": "logits"}]}, 422, "outputs"),
        (asked(data=None, parameters={"binary_data_size": 7}), 422, "binary_data_size is 7, and 0 bytes follow"),
    ],
)
def test_what_is_wrong_is_said(client: TestClient, body: dict[str, Any], status: int, said: str) -> None:
    response = client.post(INFER, json=body)
    assert response.status_code == status, response.text
    assert said in response.json()["detail"]
    assert response.json()["error"] == response.json()["detail"]


def framed(data: bytes, size: int | None = None, shape: int = 1, said: str | None = None) -> dict[str, Any]:
    size = len(data) if size is None else size
    head = json.dumps(asked(data=None, shape=[shape], parameters={"binary_data_size": size})).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": said or str(len(head))}
    return {"content": head + data, "headers": headers}


def test_bytes_that_are_no_tensor(client: TestClient) -> None:
    image = picture(1)
    whole = struct.pack("<I", len(image)) + image
    assert client.post(INFER, **framed(whole)).status_code == 200
    for request, status, said in (
        (framed(whole[:-1]), 400, "ends within element 0"),
        (framed(whole + b"\1\0"), 400, "ends within element 1"),
        (framed(b"\xff" * 4), 400, "ends within element 0"),
        (framed(whole, size=3), 422, f"binary_data_size is 3, and {len(whole)} bytes follow"),
        (framed(whole * 5, shape=5), 413, "more than 4 images"),
        (framed(whole, said="9" * 9), 400, "inference-header-content-length is '999999999'"),
        (framed(whole, said="-1"), 400, "inference-header-content-length is '-1'"),
        (framed(whole, said="5"), 400, "not valid JSON"),
    ):
        response = client.post(INFER, **request)
        assert response.status_code == status, response.text
        assert said in response.json()["detail"]
    form = client.post(INFER, files=[("image", ("a", image))])
    assert form.status_code == 415
