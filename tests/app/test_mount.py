"""The page in the server's process: what it answers, and what its library may not do there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from amcl_serve.http.app import create_app
from amcl_serve.settings import Settings
from app.examples import ASSETS, PAIRS
from app.mount import is_page_path, mount
from app.pictures import uploaded
from tests.app.server import call_of, serving

SECRET = "a file that nobody uploaded"


@pytest.fixture(scope="module")
def client(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("page")
    settings = Settings(model=str(tiny_bundle), data_dir=folder / "data", max_body_bytes=200_000, session_threads=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", "")  # mount sets it; this puts it back
        with TestClient(mount(create_app(settings, index=False), settings)) as client:
            yield client


def test_no_link_of_the_page_leaves_the_path_of_a_proxy(client: TestClient) -> None:
    headers = {"X-Forwarded-Prefix": "/amcl", "X-Forwarded-Host": "example.org", "X-Forwarded-Proto": "https"}
    page = client.get("/", headers=headers).text
    assert '"root":"https://example.org/amcl"' in page.replace(" ", "")
    assert re.findall(r'(?:href|src|action)=\\?"(/[^"\\]*)', page) == []


def config(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/config").json()
    return found


def compare(client: TestClient, first: Any, second: Any) -> Any:
    """Call the page's handler of a changed image as the browser does."""
    body = {"data": [first, second, None], "fn_index": call_of(config(client), "result"), "session_hash": "test"}
    return client.post("/gradio_api/run/predict", json=body)


def upload(client: TestClient, data: bytes, name: str = "image.jpg") -> dict[str, Any]:
    response = client.post("/gradio_api/upload", files={"files": (name, data)})
    assert response.status_code == 200, response.text
    return {"path": response.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}


def test_the_page_and_the_api_share_the_port(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert "text/html" in page.headers["content-type"]
    assert client.get("/readyz").json() == {"status": "ok"}
    assert client.get("/openapi.json").status_code == 200


def test_the_apis_404_and_405_stay_problems(client: TestClient) -> None:
    for response, status in ((client.get("/nowhere"), 404), (client.get("/embed"), 405)):
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"


def test_the_page_shows_what_similarity_answers(client: TestClient) -> None:
    first, second = ((ASSETS / name).read_bytes() for name in (PAIRS[0].first, PAIRS[0].second))
    said = client.post("/similarity", files={"a": ("a.jpg", first), "b": ("b.jpg", second)})
    panel = compare(client, upload(client, first), upload(client, second)).json()["data"][0]
    pair = said.json()["data"][0]
    for value in (pair["score"], pair["probability"], *pair["head_similarity"], *pair["temperature"]):
        assert str(value) in panel


def test_one_image_asks_for_the_second(client: TestClient) -> None:
    first = upload(client, (ASSETS / "cat.jpg").read_bytes())
    assert "Now add the second image" in compare(client, first, None).json()["data"][0]


def test_a_bad_image_is_named_in_a_sentence(client: TestClient) -> None:
    good = upload(client, (ASSETS / "cat.jpg").read_bytes())
    bad = upload(client, b"this is text")
    panel = compare(client, good, bad).json()["data"][0]
    assert 'role="alert"' in panel
    assert "Second image: " in panel
    assert "Traceback" not in panel
    assert bad["path"] not in panel


def test_a_deleted_upload_asks_for_it_again(client: TestClient) -> None:
    good = upload(client, (ASSETS / "cat.jpg").read_bytes())
    gone = upload(client, (ASSETS / "cup.jpg").read_bytes())
    Path(gone["path"]).unlink()
    panel = compare(client, gone, good).json()["data"][0]
    assert "First image: it has been deleted" in panel


def test_a_file_over_the_limit_is_refused_at_upload(client: TestClient) -> None:
    response = client.post("/gradio_api/upload", files={"files": ("big.jpg", bytes(200_001))})
    assert response.status_code == 413


@pytest.mark.parametrize("route", ["/gradio_api/run/predict", "/gradio_api/upload"])
@pytest.mark.parametrize("declared", [True, False])
def test_the_pages_paths_have_the_servers_limit(client: TestClient, route: str, declared: bool) -> None:
    kind = "multipart/form-data; boundary=x" if route.endswith("upload") else "application/json"
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' if "form" in kind else b""

    def chunks() -> Iterator[bytes]:
        yield head
        for _ in range(201):
            yield b" " * 1000

    content = b"".join(chunks()) if declared else chunks()
    response = client.post(route, content=content, headers={"content-type": kind})
    assert ("content-length" in response.request.headers) == declared
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


def test_a_path_that_was_not_uploaded_is_refused(client: TestClient, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    good = upload(client, (ASSETS / "cat.jpg").read_bytes())
    response = compare(client, {"path": str(secret), "meta": {"_type": "gradio.FileData"}}, good)
    assert response.status_code == 500
    assert SECRET not in response.text
    assert client.get(f"/gradio_api/file={secret}").status_code in (403, 404)


def test_a_file_outside_the_uploads_is_not_read_whatever_the_payload_calls_itself(
    client: TestClient, tmp_path: Path
) -> None:
    good = upload(client, (ASSETS / "cat.jpg").read_bytes())
    secret = tmp_path / "secret.jpg"
    secret.write_bytes((ASSETS / "cup.jpg").read_bytes())  # would be scored if it were read
    inside = Path(good["path"]).parent
    (inside / "link.jpg").symlink_to(secret)
    dots = os.path.relpath(secret, inside)
    paths = [secret, inside / dots, inside / "link.jpg", inside, "/dev/zero", "/nowhere", "", "a\0b", "x" * 5000]
    panels = {compare(client, good, {"path": str(path)}).json()["data"][0] for path in paths}
    (panel,) = panels  # one sentence, whatever the reason
    assert "Second image: it has been deleted" in panel
    for meta in ({"_type": "other"}, None, "gradio.FileData"):
        response = compare(client, good, {"path": str(secret), "meta": meta})
        assert response.status_code == 500 or response.json()["data"][0] == panel
    assert 'role="alert"' not in compare(client, {"path": good["path"]}, good).json()["data"][0]


@pytest.mark.parametrize(
    "payload", [{"path": 3}, {"path": ["/etc/passwd"]}, {"path": None}, {"url": "x"}, "x", [1], None]
)
def test_a_payload_without_a_path_names_no_file(payload: Any, tmp_path: Path) -> None:
    assert uploaded(payload, tmp_path) is None


def test_an_example_is_read_where_it_lies(client: TestClient) -> None:
    first, second = ({"path": path} for path in PAIRS[0].paths)
    panel = compare(client, first, second).json()["data"][0]
    assert 'role="alert"' not in panel
    assert "deleted" in compare(client, first, {"path": str(ASSETS / "page.js")}).json()["data"][0]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.jpg", "https://example.org/a.jpg"])
def test_no_url_is_fetched(client: TestClient, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import gradio.processing_utils

    async def fetch(*_: Any, **__: Any) -> None:
        raise AssertionError("a URL was fetched")

    monkeypatch.setattr(gradio.processing_utils, "async_ssrf_protected_download", fetch)
    good = upload(client, (ASSETS / "cat.jpg").read_bytes())
    response = compare(client, {"path": url, "url": url, "meta": {"_type": "gradio.FileData"}}, good)
    assert response.status_code == 500
    assert "not fetched by URL" in response.text


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=https://example.org/a.jpg",
        "/gradio_api/file=http:/example.org/a.jpg",
        "/gradio_api/proxy=https://example.org/",
        "/gradio_api/queue/join",
        "/gradio_api/component_server",
        "/gradio_api/run-history/connect",
        "/monitoring",
        "/embed",
    ],
)
def test_paths_that_the_page_does_not_need_are_not_its_own(path: str) -> None:
    assert not is_page_path(path)


def test_uploads_go_when_the_server_is_terminated(tiny_bundle: Path, tmp_path: Path) -> None:
    with serving(tiny_bundle, tmp_path) as base:
        response = httpx.post(f"{base}/gradio_api/upload", files={"files": ("a.jpg", b"bytes")})
        stored = Path(response.json()[0])
        assert stored.read_bytes() == b"bytes"
    assert not stored.exists()
    assert not any(folder.exists() for folder in stored.parents if folder.name.startswith("amcl-page-"))


def test_examples_fit() -> None:
    files = {ASSETS / name for pair in PAIRS for name in (pair.first, pair.second)}
    assert all(file.is_file() for file in files)
    assert sum(file.stat().st_size for file in ASSETS.iterdir()) < 300_000
