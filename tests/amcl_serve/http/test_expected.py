"""What clients, proxies and people expect of any HTTP server: HEAD, encodings, marks, sentences that fit."""

from __future__ import annotations

import base64
import gzip
import json

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from amcl_serve.commands.serve import url
from amcl_serve.settings import Settings
from tests.amcl_serve.http.conftest import LIMITS, picture

TEXT = base64.b64encode(picture(1)).decode()
JSON = {"content-type": "application/json"}


def get_paths(client: TestClient) -> list[str]:
    assert isinstance(client.app, FastAPI)
    paths = [path for path, operations in client.app.openapi()["paths"].items() if "get" in operations]
    values = {"{name}": "tiny", "{point}": "1"}
    for template, value in values.items():
        paths = [path.replace(template, value) for path in paths]
    return [*paths, "/docs", "/docs/swagger-ui.css", "/openapi.json", "/", "/nowhere"]


def test_head_answers_as_get_without_the_body(client: TestClient) -> None:
    paths = get_paths(client)
    assert len(paths) > 12
    for path in paths:
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        varying = {"x-request-id", "x-total-time", "content-length", "etag", "last-modified"}
        assert {k: v for k, v in head.headers.items() if k not in varying} == {
            k: v for k, v in got.headers.items() if k not in varying
        }, path
    assert client.head("/embed").status_code == 405
    text = client.get("/metrics").text
    assert 'amcl_requests_total{method="HEAD",route="/livez",status="200"}' in text


@pytest.mark.parametrize("path", ["/embed", "/similarity", "/v1/embeddings", "/collections/c/points/query"])
def test_a_coded_body_is_refused_by_the_name_of_its_coding(client: TestClient, path: str) -> None:
    body = gzip.compress(json.dumps({"images": [TEXT]}).encode())
    response = client.post(path, content=body, headers=JSON | {"content-encoding": "gzip"})
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
    assert "'gzip'" in response.json()["detail"]
    plain = client.post("/embed", json={"images": [TEXT]}, headers={"content-encoding": "identity"})
    assert plain.status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/embed", {"images": [TEXT]}),
        ("/similarity", {"a": [TEXT], "b": [TEXT]}),
        ("/v1/embeddings", {"model": "tiny", "input": TEXT}),
        ("/collections/marked/points/query", {"query": [1.0] * 8}),
        ("/collections/marked/points/count", {}),
    ],
)
def test_json_may_begin_with_a_byte_order_mark(client: TestClient, path: str, body: object) -> None:
    client.put("/collections/marked", json={"vectors": {"distance": "Cosine"}})
    response = client.post(path, content=b"\xef\xbb\xbf" + json.dumps(body).encode(), headers=JSON)
    assert response.status_code == 200, response.json()


@pytest.mark.parametrize("size", [10, 5_000, 40_000])
def test_a_file_sent_as_text_is_told_so_at_any_size(client: TestClient, size: int) -> None:
    response = client.post("/embed", data={"files": "x" * size}, files=[("files", ("a.png", picture(1)))])
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert "'files' was sent as text; send it as a file: a part with a filename" in response.json()["detail"]


@pytest.mark.parametrize("given", [[1, 2, 3], [[1, 2], [3]]])
def test_tokens_are_told_what_makes_them(client: TestClient, given: object) -> None:
    response = client.post("/v1/embeddings", json={"model": "tiny", "input": given})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert "check_embedding_ctx_length=False" in response.json()["detail"]


def test_a_form_without_its_end_is_malformed(client: TestClient) -> None:
    part = b'--x\r\ncontent-disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + picture(1)
    kind = {"content-type": "multipart/form-data; boundary=x"}
    whole = client.post("/embed", content=part + b"\r\n--x--\r\n", headers=kind)
    cut = client.post("/embed", content=part, headers=kind)
    assert (whole.status_code, cut.status_code) == (200, 400)
    assert "it has no end" in cut.json()["detail"]


def test_a_form_stays_in_memory(settings: Settings, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a file of the form goes to the disk")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile", forbidden)
    monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", forbidden)
    large = picture(1, 120) + b"\0" * (LIMITS["max_body_bytes"] // 2)
    response = client.post("/embed", files=[("files", ("a.png", large))])
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("host", "shown"),
    [("::1", "[::1]"), ("::", "[::1]"), ("0.0.0.0", "127.0.0.1"), ("localhost", "localhost"), ("fe80::1", "[fe80::1]")],
)
def test_the_url_that_is_printed_works(host: str, shown: str) -> None:
    assert url(Settings(host=host, port=8123)) == f"http://{shown}:8123"
