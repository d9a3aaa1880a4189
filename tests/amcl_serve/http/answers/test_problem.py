from __future__ import annotations

import logging

import pytest
from fastapi import FastAPI, Query
from starlette.testclient import TestClient

from amcl_serve.errors import AmclError, CollectionNotFound, Overloaded
from amcl_serve.http.app import create_app
from amcl_serve.http.shapes.problem import Problem
from amcl_serve.settings import Settings
from tests.amcl_serve.http.conftest import picture
from tests.amcl_serve.test_errors import CLASSES


@pytest.fixture(scope="module")
def failing() -> TestClient:
    app = create_app(Settings())

    @app.get("/fail/{code}")
    @app.get("/collections/fail/{code}")
    def fail(code: str) -> None:
        if code == "bug":
            raise RuntimeError("a secret in /etc/shadow")
        raise {error.code: error for error in CLASSES}[code]("the detail")

    @app.get("/number")
    def number(limit: int = Query(ge=1)) -> int:
        return limit

    return TestClient(app, raise_server_exceptions=False)  # not entered: no lifespan, no model


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_is_a_problem(failing: TestClient, error: type[AmclError]) -> None:
    response = failing.get(f"/fail/{error.code}")
    assert response.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate(response.json())
    assert (response.status_code, problem.status, problem.code) == (error.status, error.status, error.code)
    assert problem.detail == "the detail"
    assert response.headers.get("retry-after") == (str(error.retry_after) if error.retry_after else None)


def test_under_collections_qdrants_status_is_beside_it(failing: TestClient) -> None:
    response = failing.get(f"/collections/fail/{CollectionNotFound.code}")
    assert response.status_code == 404
    body = response.json()
    assert (body["status"], body["code"]) == ({"error": "the detail"}, "collection_not_found")
    Problem.model_validate(body)


def test_nothing_of_a_bug_leaks(failing: TestClient) -> None:
    response = failing.get("/fail/bug")
    assert response.status_code == 500
    assert response.json()["code"] == "internal_error"
    assert "secret" not in response.text
    assert "RuntimeError" not in response.text
    with pytest.raises(RuntimeError, match="secret"):  # it goes on to the server, which logs it with its traceback
        TestClient(failing.app).get("/fail/bug")


def test_no_route_wrong_method_wrong_parameter(failing: TestClient) -> None:
    missing = failing.get("/nowhere")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    method = failing.get("/embed")
    assert (method.status_code, method.json()["code"], method.headers["allow"]) == (405, "method_not_allowed", "POST")
    for path, allowed in (
        ("/docs", "GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
        ("/collections/c", "DELETE, GET, HEAD, PUT"),
    ):
        method = failing.patch(path)
        assert (method.status_code, method.headers["allow"]) == (405, allowed)
    for query, said in (("?limit=0", "limit: "), ("", "limit: ")):
        wrong = failing.get("/number" + query)
        assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_request")
        assert wrong.json()["detail"].startswith(said)


def test_before_start_up_the_server_is_not_ready(failing: TestClient) -> None:
    assert failing.get("/livez").status_code == 200
    for response in (
        failing.get("/readyz"),
        failing.get("/models"),
        failing.post("/embed", content=picture(1), headers={"content-type": "image/png"}),
    ):
        assert (response.status_code, response.json()["code"]) == (503, "not_ready")
        assert int(response.headers["retry-after"]) > 0


def test_a_full_queue_refuses_the_whole_request(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    app = client.app
    assert isinstance(app, FastAPI)

    async def full(images: object, **options: object) -> None:
        raise Overloaded("the queue is full; try again soon")

    monkeypatch.setattr(app.state.server.registry.get().engine, "embed", full)
    files = [("files", ("a.png", picture(1)))] * 2
    response = client.post("/embed", files=files)
    assert (response.status_code, response.json()["code"], response.headers["retry-after"]) == (429, "overloaded", "1")


def test_logging_is_left_to_the_server(caplog: pytest.LogCaptureFixture, client: TestClient) -> None:
    with caplog.at_level(logging.INFO):
        client.post("/embed", content=b"?", headers={"content-type": "image/png"})
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
