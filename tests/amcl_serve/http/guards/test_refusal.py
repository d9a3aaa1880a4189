"""The protocol's own 429, over real connections: the same as BodyLimit's, and no harm to what comes after it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from prometheus_client import generate_latest
from starlette.responses import PlainTextResponse
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from amcl_serve.http.app import create_app
from amcl_serve.http.guards import refusal
from amcl_serve.settings import Settings
from tests.amcl_serve.http.connections import answers, connected, listening, request

PLACES = 2
BEHIND = PlainTextResponse("behind")  # an application that cannot refuse: a 429 is the protocol's own


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    """An application without a free place."""
    app = create_app(settings.model_copy(update={"max_queue_items": PLACES}))
    app.state.server.in_flight.requests = PLACES
    return app


@pytest.fixture
def port(app: FastAPI) -> Iterator[int]:
    """Of a server with the protocol of a full `app`, and BEHIND behind it."""
    with listening(BEHIND, refusal.protocol(app)) as port:
        yield port


def counted(app: FastAPI) -> set[str]:
    lines = generate_latest(app.state.server.metrics.registry).decode().splitlines()
    return {line for line in lines if line.startswith(("amcl_requests_total{", "amcl_rejected_total{"))}


@pytest.mark.parametrize("path", ["/embed", "/v1/embeddings", "/collections/x/points?wait=true", "/%65mbed"])
def test_the_answer_is_that_of_the_middlewares(settings: Settings, path: str) -> None:
    seen = []
    for protocol in (refusal.protocol, lambda _: HttpToolsProtocol):
        app = create_app(settings.model_copy(update={"max_queue_items": PLACES}))
        app.state.server.in_flight.requests = PLACES
        with listening(app, protocol(app)) as port, connected(port) as connection:
            connection.sendall(request(path, b"{}", "POST", "x-request-id: mine"))
            ((status, headers, body),) = answers(connection, 1)
        assert (status, headers["retry-after"], headers["x-request-id"]) == (429, "1", "mine")
        assert float(headers.pop("x-total-time")) >= 0
        headers.pop("date")
        seen.append((headers, body, counted(app)))
    assert seen[0] == seen[1]
    assert len(seen[0][2]) == 2


def test_whole_requests_have_a_limit_of_their_own(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"max_requests": 1}))
    with listening(BEHIND, refusal.protocol(app)) as port, connected(port) as connection:
        for whole, answer in ((0, b"behind"), (1, None), (0, b"behind")):
            app.state.server.in_flight.whole = whole
            connection.sendall(request())
            ((status, _, body),) = answers(connection, 1)
            assert (body if status == 200 else None) == answer, status


def test_what_is_not_refused_reaches_the_application(app: FastAPI, port: int) -> None:
    with connected(port) as connection:
        connection.sendall(request(method="GET"))
        assert answers(connection, 1)[0][2] == b"behind"
        app.state.server.in_flight.requests -= 1
        connection.sendall(request())
        assert answers(connection, 1)[0][2] == b"behind"
        app.state.server.in_flight.requests += 1
        connection.sendall(request())
        assert answers(connection, 1)[0][0] == 429
        connection.sendall(request("/embed", b"", "POST", "connection: close"))  # more than an answer to see to
        assert answers(connection, 1)[0][2] == b"behind"


def test_a_connection_goes_on_after_a_refusal(app: FastAPI, port: int) -> None:
    with connected(port) as connection:
        head, body = request(body=b"x" * 200_000)[:-200_000], b"x" * 200_000
        connection.sendall(head)
        assert answers(connection, 1)[0][0] == 429  # before the body
        connection.sendall(body[:70_000])
        connection.sendall(body[70_000:])
        ids = set()
        for _ in range(3):
            connection.sendall(request())
            ((status, headers, _),) = answers(connection, 1)
            assert status == 429
            ids.add(headers["x-request-id"])
        assert len(ids) == 3
        app.state.server.in_flight.requests = 0
        connection.sendall(request())
        assert answers(connection, 1)[0][2] == b"behind"


def test_requests_sent_at_once_are_answered_in_order(port: int) -> None:
    numbers = [str(number) for number in range(5)]
    refused = b"".join(request("/embed", b"a", "POST", f"x-request-id: {number}") for number in numbers)
    with connected(port) as connection:
        connection.sendall(refused)
        found = answers(connection, 5)
        assert [(status, headers["x-request-id"]) for status, headers, _ in found] == [(429, n) for n in numbers]
        connection.sendall(request(method="GET") + refused)  # while others wait it is the application's turn
        assert [status for status, _, _ in answers(connection, 6)] == [200] * 5 + [429]


def refuses(protocol: type[HttpToolsProtocol]) -> bool:
    return protocol._start_asgi_task is not HttpToolsProtocol._start_asgi_task


def test_logged_and_cross_origin_requests_go_the_usual_way(settings: Settings) -> None:
    full = create_app(settings.model_copy(update={"cors_origins": "*"}))
    assert not refuses(refusal.protocol(full))
    assert refuses(refusal.protocol(create_app(settings)))
    log = logging.getLogger("amcl_serve.requests")
    before = log.level
    try:
        log.setLevel(logging.INFO)
        assert not refuses(refusal.protocol(create_app(settings.model_copy(update={"log_requests": True}))))
    finally:
        log.setLevel(before)
