"""Clients that send too much, too slowly or nothing at all, over real connections."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import time
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from amcl_serve.http.app import create_app
from amcl_serve.http.guards.connection import MAX_HEAD, bounded
from amcl_serve.settings import Settings
from tests.amcl_serve.http.connections import answers, connected, listening, request

SECONDS = 1.0  # what a client has for a head
HEAD = b"POST /embed HTTP/1.1\r\nhost: x\r\n"
LONG = b"a" * (8 * MAX_HEAD)  # more than the network hands over at once


async def behind(scope: Scope, receive: Receive, send: Send) -> None:
    """Says how long the body was and what the header `x` is; /early does not read it."""
    asked = Request(scope, receive)
    size = 0 if scope["path"] == "/early" else len(await asked.body())
    await PlainTextResponse(f"{size} {len(asked.headers.get('x', ''))}")(scope, receive, send)


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return create_app(settings.model_copy(update={"request_deadline": SECONDS}))


@pytest.fixture
def connection(app: FastAPI) -> Iterator[socket.socket]:
    with listening(behind, bounded(app)) as port, connected(port) as connection:
        yield connection


def rest(connection: socket.socket, data: bytes = b"") -> bytes:
    """What comes until the server closes, which it has to do; `data` is sent before, as far as it is taken."""
    found = b""
    with contextlib.suppress(ConnectionError):  # closed already: what it said may still be there
        connection.sendall(data)
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            found += piece
    return found


@pytest.mark.parametrize(
    "data",
    [HEAD + b"x: " + LONG, HEAD + b"x: y\r\n" * (len(LONG) // 6), b"GET /" + LONG],
    ids=["value", "lines", "url"],
)
def test_a_head_without_end_is_refused(app: FastAPI, connection: socket.socket, data: bytes) -> None:
    found = rest(connection, data)
    assert not found or found.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")  # none: reset on the way
    rejected = app.state.server.metrics.registry.get_sample_value("amcl_rejected_total", {"reason": "head_too_large"})
    assert rejected == 1


def test_the_refusal_says_what_is_wrong(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"x: " + b"a" * MAX_HEAD)  # no more is on its way, so the answer arrives whole
    head, _, body = rest(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert b"\r\nconnection: close" in head
    assert b'"code":"head_too_large"' in body
    assert str(MAX_HEAD).encode() in body


def test_trailers_without_end_are_refused(app: FastAPI, connection: socket.socket) -> None:
    chunked = HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
    assert b"200 OK" not in rest(connection, chunked + b"x: " + LONG)
    rejected = app.state.server.metrics.registry.get_sample_value("amcl_rejected_total", {"reason": "head_too_large"})
    assert rejected == 1


def test_what_is_long_without_being_a_head_passes(connection: socket.socket) -> None:
    connection.sendall(request("/", LONG, "POST", "x: " + "a" * 30_000))
    assert answers(connection, 1)[0][2] == f"{len(LONG)} 30000".encode()
    many = b"1\r\na\r\n" * 40_000  # their framing alone is longer than a head may be
    connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n" + many + b"0\r\n\r\n")
    assert answers(connection, 1)[0][2] == b"40000 0"
    connection.sendall(request("/", b"abc") * 3000)  # many heads, each short
    assert {body for _, _, body in answers(connection, 3000)} == {b"3 0"}


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"POST /em", HEAD], ids=["nothing", "line", "word", "half"])
def test_a_client_that_does_not_come_to_the_point_is_closed(connection: socket.socket, sent: bytes) -> None:
    assert rest(connection, sent) == b""


def test_a_body_that_nobody_waits_for_has_its_time_too(connection: socket.socket) -> None:
    connection.sendall(request("/early", b"abc")[:-3])
    assert answers(connection, 1)[0][0] == 200
    connection.sendall(b"a")  # and no more
    assert rest(connection) == b""


def test_a_connection_in_use_is_kept(connection: socket.socket) -> None:
    for _ in range(12):
        data = request("/", b"abc")
        connection.sendall(data[:20])
        connection.settimeout(SECONDS / 8)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(20)
        connection.sendall(data[20:])
        assert answers(connection, 1)[0][2] == b"3 0"


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers in half a second, unless its client has gone; /gone says so to whoever asks later."""
    body = await Request(scope, receive).body()
    gone = asyncio.create_task(receive())
    done, _ = await asyncio.wait({gone}, timeout=0.5)
    slow.left = bool(done)  # type: ignore[attr-defined]
    await PlainTextResponse(str(len(body)))(scope, receive, send)


def test_a_client_that_ends_its_own_side_gets_its_answer(app: FastAPI) -> None:
    with listening(slow, bounded(app)) as port, connected(port) as connection:
        connection.sendall(request(body=b"1234"))
        connection.shutdown(socket.SHUT_WR)
        found = rest(connection)
    interim, _, answer = found.partition(b"HTTP/1.1 200 OK\r\n")
    assert interim == b"HTTP/1.1 100 Continue\r\n\r\n" * 2
    assert answer.endswith(b"\r\n\r\n4")
    assert slow.left is False  # type: ignore[attr-defined]


def test_a_client_of_the_library_passes_over_what_is_sent_between(app: FastAPI) -> None:
    with listening(slow, bounded(app)) as port, connected(port) as connection:
        connection.sendall(request(body=b"1234"))
        connection.shutdown(socket.SHUT_WR)
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert (response.status, response.read()) == (200, b"4")


def test_a_client_that_is_gone_is_noticed_while_it_is_worked_for(app: FastAPI) -> None:
    with listening(slow, bounded(app)) as port:
        with connected(port) as connection:
            connection.sendall(request(body=b"1234"))
            time.sleep(0.1)  # it has come
        time.sleep(0.7)
    assert slow.left is True  # type: ignore[attr-defined]


def test_half_a_body_is_no_request(app: FastAPI) -> None:
    with listening(behind, bounded(app)) as port, connected(port) as connection:
        connection.sendall(request(body=b"1234")[:-2])
        connection.shutdown(socket.SHUT_WR)
        assert rest(connection) == b""
