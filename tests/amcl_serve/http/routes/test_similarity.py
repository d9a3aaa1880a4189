from __future__ import annotations

import base64

import pytest
from starlette.testclient import TestClient

from amcl_serve.http.shapes.similarity import CrossAnswer, PairsAnswer
from tests.amcl_serve.http.conftest import picture
from tests.fakes import C

A, B, OTHER = picture(1), picture(2), picture(3)


def parts(a: list[bytes], b: list[bytes]) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [(side, ("x.png", image, "image/png")) for side, images in (("a", a), ("b", b)) for image in images]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_pairs(client: TestClient) -> None:
    response = client.post("/similarity", files=parts([A, A], [A, B]))
    assert response.status_code == 200
    answer = PairsAnswer.model_validate(response.json())
    same, other = response.json()["data"]
    assert [item.index for item in answer.data] == [0, 1]
    assert same["score"] == pytest.approx(1, abs=1e-5)
    assert same["feature_similarity"] == pytest.approx(1, abs=1e-5)
    assert same["same"] is True
    assert other["score"] < 0.999
    assert len(other["head_similarity"]) == len(other["temperature"]) == C
    weights = [1 / temperature for temperature in other["temperature"]]
    combined = sum(w * s for w, s in zip(weights, other["head_similarity"], strict=True)) / sum(weights)
    assert other["score"] == pytest.approx(combined, abs=1e-5)
    assert other["uncertainty"] == pytest.approx(C / sum(weights), abs=1e-5)
    assert {"x-queue-time", "x-decode-time", "x-inference-time", "x-total-time"} <= set(response.headers)
    parsed = client.post("/similarity", json={"a": [b64(A), b64(A)], "b": [b64(A), b64(B)]})
    assert parsed.json() == response.json()


def test_cross_agrees_with_pairs(client: TestClient) -> None:
    body = {"a": [b64(A), b64(B)], "b": [b64(A), b64(B), b64(OTHER)], "mode": "cross"}
    cross = client.post("/similarity", json=body).json()
    CrossAnswer.model_validate(cross)
    assert cross == client.post("/similarity", params={"mode": "cross"}, files=parts([A, B], [A, B, OTHER])).json()
    for row, a in enumerate((A, B)):
        pairs = client.post("/similarity", files=parts([a] * 3, [A, B, OTHER])).json()["data"]
        for name in ("score", "probability", "feature_similarity"):
            assert cross["data"][name][row] == pytest.approx([pair[name] for pair in pairs], abs=1e-5)


def test_a_bad_image_takes_only_its_pair(client: TestClient) -> None:
    good = client.post("/similarity", files=parts([A], [B])).json()["data"][0]
    answer = client.post("/similarity", files=parts([b"?", A, A], [B, B, b""])).json()
    PairsAnswer.model_validate(answer)
    first, second, third = answer["data"]
    assert first["error"]["code"] == "unsupported_image"
    assert first["error"]["operand"] == "a"
    assert second == good | {"index": 1}
    assert third["error"]["code"] == "empty_image"
    assert third["error"]["operand"] == "b"
    assert "a: " not in first["error"]["detail"] + third["error"]["detail"]


def test_a_bad_image_takes_only_its_row_of_cross(client: TestClient) -> None:
    answer = client.post("/similarity?mode=cross", files=parts([b"?", A], [B, OTHER])).json()
    CrossAnswer.model_validate(answer)
    good = client.post("/similarity?mode=cross", files=parts([A], [B, OTHER])).json()
    for name, matrix in answer["data"].items():
        assert matrix == [[None, None], good["data"][name][0]]
    (error,) = answer["errors"]
    assert (error["operand"], error["index"], error["error"]["code"]) == ("a", 0, "unsupported_image")
    hopeless = client.post("/similarity?mode=cross", files=parts([b"?"], [B, OTHER])).json()
    assert hopeless["data"]["score"] == [[None, None]]


def test_the_error_of_a_single_pair_is_the_response(client: TestClient) -> None:
    for mode in ("pairs", "cross"):
        response = client.post("/similarity", params={"mode": mode}, files=parts([A], [b"?"]))
        assert (response.status_code, response.json()["code"]) == (415, "unsupported_image")
        assert response.json()["detail"].startswith("b: ")


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        ({"a": [b64(A)] * 2, "b": [b64(B)]}, 422, "invalid_request", "2 and 1"),
        ({"a": [], "b": []}, 422, "invalid_request", "at least one"),
        ({"a": [b64(A)]}, 422, "invalid_request", "b: "),
        ({"a": [b64(A)], "b": ["http://example.org/b.jpg"]}, 422, "invalid_request", "b[0]: "),
        ({"a": [b64(A)], "b": [{"collection": "c", "id": 1}]}, 422, "invalid_request", "heads"),
        ({"a": [b64(A)], "b": [b64(B)], "mode": "all"}, 422, "invalid_request", "mode: "),
        ({"a": [b64(A)] * 5, "b": [b64(B)] * 5}, 413, "too_many_items", "5 "),
    ],
)
def test_json_that_does_not_fit(client: TestClient, body: object, status: int, code: str, said: str) -> None:
    response = client.post("/similarity", json=body)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert said in response.json()["detail"]


def test_forms_that_do_not_fit(client: TestClient) -> None:
    def post(a: list[bytes], b: list[bytes]) -> tuple[int, str]:
        response = client.post("/similarity", files=parts(a, b))
        return response.status_code, response.json()["code"]

    assert post([A, A], [B]) == (422, "invalid_request")
    assert post([A], []) == (422, "invalid_request")
    assert post([A] * 5, [B]) == (413, "too_many_items")
    assert post([A] * 5, [B] * 5) == (413, "too_many_items")
    raw = client.post("/similarity", content=A, headers={"content-type": "image/png"})
    assert (raw.status_code, raw.json()["code"]) == (415, "unsupported_media_type")
