"""A server behind a path of a proxy, which takes the path off or leaves it, and says it in a header or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from amcl_serve.http.app import create_app
from amcl_serve.settings import Settings
from tests.amcl_serve.http.conftest import picture

PNG = {"content-type": "image/png"}


@pytest.fixture(params=["header", "setting"])
def behind(settings: Settings, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[TestClient]:
    """A client that comes by way of /amcl."""
    setting = "/amcl" if request.param == "setting" else ""
    update = {"data_dir": tmp_path, "root_path": setting, "read_only_api_key": SecretStr("key")}
    headers = {"x-api-key": "key"} | ({} if setting else {"x-forwarded-prefix": "/amcl/"})
    app = create_app(settings.model_copy(update=update))
    with TestClient(app, raise_server_exceptions=False, headers=headers) as client:
        yield client


@pytest.mark.parametrize("path", ["", "/amcl"])
def test_every_route_is_found_with_the_path_and_without(behind: TestClient, path: str) -> None:
    assert behind.get(f"{path}/livez", headers={"x-api-key": ""}).status_code == 200
    assert behind.post(f"{path}/embed", content=picture(1), headers=PNG).status_code == 200
    assert behind.get(f"{path}/models/tiny").status_code == 200
    assert behind.get(f"{path}/models", headers={"x-api-key": "other"}).status_code == 401
    assert behind.put(f"{path}/collections/c", json={"vectors": {"distance": "Dot"}}).status_code == 403
    missing = behind.get(f"{path}/collections/none")
    assert missing.json()["status"] == {"error": missing.json()["detail"]}


def test_what_the_server_says_of_itself_has_the_path(behind: TestClient) -> None:
    page = behind.get("/docs").text
    assert "'/amcl/openapi.json'" in page
    assert 'src="/amcl/docs/swagger-ui-bundle.js"' in page
    assert behind.get("/openapi.json").json()["servers"] == [{"url": "/amcl"}]


def test_without_a_proxy_there_is_no_path(client: TestClient) -> None:
    assert "servers" not in client.get("/openapi.json").json()
    assert client.get("/amcl/livez").status_code == 404


@pytest.mark.parametrize(
    "said", ["amcl", "//evil.example", "/a b", '/a"><script>', "https://evil.example", "/", "/a//b", "/a?b"]
)
def test_what_is_no_path_is_passed_over(client: TestClient, said: str) -> None:
    answer = client.get("/openapi.json", headers={"x-forwarded-prefix": said})
    assert (answer.status_code, "servers" in answer.json()) == (200, False)


@pytest.mark.parametrize("path", ["amcl", "/amcl/", "https://a", "/a b"])
def test_a_setting_that_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="root_path"):
        Settings(root_path=path)
