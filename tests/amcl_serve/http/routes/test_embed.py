from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from starlette.testclient import TestClient

from amcl_serve.http.shapes.embed import EmbedAnswer
from tests.amcl_serve.http.conftest import picture
from tests.fakes import HEAD_DIM, C, D

A, B = picture(1), picture(2)
PNG = {"content-type": "image/png"}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def files(*images: bytes) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [("files", (f"{index}.png", image, "image/png")) for index, image in enumerate(images)]


def alone(client: TestClient, image: bytes) -> list[float]:
    response = client.post("/embed", content=image, headers=PNG)
    assert response.status_code == 200
    return response.json()["data"][0]["embedding"]


def test_every_kind_of_body_gives_the_same_answer(client: TestClient) -> None:
    raw = [client.post("/embed", content=image, headers=PNG).json()["data"][0]["embedding"] for image in (A, B)]
    octets = client.post("/embed", content=A, headers={"content-type": "application/octet-stream"}).json()
    form = client.post("/embed", files=files(A, B)).json()
    uri = "data:image/png;base64," + b64(B)
    wrapped = b64(A)[:40] + "\n" + b64(A)[40:]  # as the command base64 writes it
    parsed = client.post("/embed", json={"images": [wrapped, uri]}).json()
    assert octets["data"][0]["embedding"] == raw[0]
    assert [item["embedding"] for item in form["data"]] == raw
    assert [item["embedding"] for item in parsed["data"]] == raw
    assert raw[0] != raw[1]
    answer = EmbedAnswer.model_validate(form)
    assert (answer.model, answer.dim, [item.index for item in answer.data]) == ("tiny", D, [0, 1])
    assert answer.digest.startswith("sha256:")


def test_outputs_and_normalize_in_body_query_and_form(client: TestClient) -> None:
    both = {"outputs": ["features", "heads"], "normalize": True}
    bodies = [
        client.post("/embed", json={"images": [b64(A)], **both}),
        client.post("/embed", params=both, content=A, headers=PNG),
        client.post("/embed", data={**both, "normalize": "true"}, files=files(A)),
    ]
    for response in bodies:
        (item,) = response.json()["data"]
        assert np.shape(item["heads"]) == (C, HEAD_DIM)
        assert np.linalg.norm(item["embedding"]) == pytest.approx(1)
        assert np.linalg.norm(item["heads"], axis=1) == pytest.approx(1, abs=1e-6)
        assert np.cross(item["embedding"][:3], alone(client, A)[:3]) == pytest.approx(0, abs=1e-6)
    (heads,) = client.post("/embed?outputs=heads", content=A, headers=PNG).json()["data"]
    assert set(heads) == {"index", "heads"}


def test_a_bad_image_leaves_its_neighbours_alone(client: TestClient) -> None:
    response = client.post("/embed", files=files(A, b"not an image", B[:60], b""))
    assert response.status_code == 200
    EmbedAnswer.model_validate(response.json())
    good, text, truncated, empty = response.json()["data"]
    assert good == {"index": 0, "embedding": alone(client, A)}
    assert text["error"]["code"] == "unsupported_image"
    assert truncated["error"]["code"] == "undecodable_image"
    assert empty["error"]["code"] == "empty_image"
    assert [item["index"] for item in (text, truncated, empty)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("image", "status", "code"),
    [(b"not an image", 415, "unsupported_image"), (B[:60], 400, "undecodable_image"), (b"", 400, "empty_image")],
)
def test_the_error_of_a_single_image_is_the_response(client: TestClient, image: bytes, status: int, code: str) -> None:
    for response in (
        client.post("/embed", content=image, headers=PNG),
        client.post("/embed", files=files(image)),
        client.post("/embed", json={"images": [b64(image)]}),
    ):
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
        assert (response.json()["code"], response.json()["status"]) == (code, status)


def test_only_bad_images_are_still_answered(client: TestClient) -> None:
    response = client.post("/embed", json={"images": ["!!!", "data:image/png,raw", "Ä"]})
    assert response.status_code == 200
    assert {item["error"]["code"] for item in response.json()["data"]} == {"undecodable_image"}
    assert "base64" in response.json()["data"][0]["error"]["detail"]


def test_npy_gives_the_good_rows_and_names_the_others(client: TestClient) -> None:
    headers = {"accept": "application/x-npy"}
    response = client.post("/embed", files=files(A, b"?", B), headers=headers)
    array = np.load(io.BytesIO(response.content), allow_pickle=False)
    assert response.headers["content-type"] == "application/x-npy"
    assert response.headers["x-failed-indices"] == "1"
    assert response.headers["x-model-digest"] == client.get("/models/tiny").json()["digest"]
    assert array.dtype == np.float32
    assert array.tolist() == [pytest.approx(alone(client, A)), pytest.approx(alone(client, B))]
    half = client.post("/embed?dtype=float16&outputs=heads", files=files(A, B), headers=headers)
    array = np.load(io.BytesIO(half.content), allow_pickle=False)
    assert (array.dtype, array.shape, half.headers["x-failed-indices"]) == (np.float16, (2, C, HEAD_DIM), "")
    none = client.post("/embed", files=files(b"?", b"?"), headers=headers)
    assert np.load(io.BytesIO(none.content)).shape == (0, D)
    both = client.post("/embed?outputs=heads&outputs=features", files=files(A), headers=headers)
    assert (both.status_code, both.json()["code"]) == (422, "invalid_request")


def test_time_headers_are_milliseconds(client: TestClient) -> None:
    headers = client.post("/embed", content=A, headers=PNG).headers
    parts = [float(headers[f"x-{stage}-time"]) for stage in ("queue", "decode", "inference")]
    assert min(parts) >= 0
    assert 0 < sum(parts) <= float(headers["x-total-time"]) + 0.1
    assert float(client.get("/livez").headers["x-total-time"]) > 0


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        (
            {"images": [b64(A), "https://example.org/a.jpg"]},
            422,
            "invalid_request",
            r"images\[1\].*URL.*send the bytes",
        ),
        ({"images": []}, 422, "invalid_request", "at least one"),
        ({"images": b64(A)}, 422, "invalid_request", "images: .*array"),
        ({"images": [1]}, 422, "invalid_request", r"images\[0\]: .*string"),
        ({"images": [b64(A)], "output": ["heads"]}, 422, "invalid_request", "output: "),
        ({"images": [b64(A)], "outputs": ["head"]}, 422, "invalid_request", r"outputs\[0\]: .*'heads'"),
        ({"images": ["x"] * 5}, 413, "too_many_items", "5 images.* 4 "),
    ],
)
def test_json_that_does_not_fit(client: TestClient, body: object, status: int, code: str, said: str) -> None:
    response = client.post("/embed", json=body)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert re.search(said, response.json()["detail"])


def test_malformed_bodies(client: TestClient) -> None:
    def post(content: bytes, kind: str) -> tuple[int, str]:
        response = client.post("/embed", content=content, headers={"content-type": kind} if kind else {})
        return response.status_code, response.json()["code"]

    assert post(b'{"images": [', "application/json") == (400, "bad_request")
    assert post(b"\xff\xfe", "application/json") == (400, "bad_request")
    assert post(b"rubbish", "multipart/form-data") == (400, "bad_request")
    assert post(b"rubbish", "multipart/form-data; boundary=x") == (400, "bad_request")
    assert post(A, "application/x-www-form-urlencoded") == (415, "unsupported_media_type")
    assert post(A, "text/plain") == (415, "unsupported_media_type")
    assert post(A, "") == (415, "unsupported_media_type")


def test_forms_that_do_not_fit(client: TestClient) -> None:
    wrong = client.post("/embed", files=[("file", ("a.png", A))])
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_request")
    assert "`files`" in wrong.json()["detail"]
    text = client.post("/embed", data={"files": "a.png", "normalize": "1"}, files=files(A))
    assert (text.status_code, "filename" in text.json()["detail"]) == (422, True)
    none = client.post("/embed", files=[("outputs", (None, "heads"))])
    assert (none.status_code, none.json()["code"]) == (422, "invalid_request")
    many = client.post("/embed", files=files(*[A] * 5))
    assert (many.status_code, many.json()["code"]) == (413, "too_many_items")
    long = client.post("/embed", data={"normalize": "1" * 5000}, files=files(A))
    assert (long.status_code, long.json()["code"]) == (400, "bad_request")
    option = client.post("/embed", params={"dtype": "int8"}, files=files(A))
    assert (option.status_code, option.json()["detail"].startswith("dtype: ")) == (422, True)
