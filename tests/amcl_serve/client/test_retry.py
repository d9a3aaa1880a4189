"""What the clients do when a server is busy, gone, or none of ours: no socket and no waiting."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import numpy as np
import pytest

from amcl_serve.client import AsyncClient, Client, Limits, Point, Retry
from amcl_serve.client.calls import ERRORS
from amcl_serve.errors import ModelNotFound, NotReady, Overloaded, UnexpectedAnswer, Unreachable

Outcome = httpx.Response | type[httpx.TransportError]


def npy(rows: int = 1, **headers: str) -> httpx.Response:
    stream = io.BytesIO()
    np.save(stream, np.zeros((rows, 3), np.float32))
    return httpx.Response(200, content=stream.getvalue(), headers=headers)


def problem(status: int, code: str, detail: str = "so it is", **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"status": status, "code": code, "detail": detail}, headers=headers)


def busy(**headers: str) -> httpx.Response:
    return problem(429, "overloaded", **headers)


class Script:
    """A transport that answers with the given outcomes in order, and what the client did with them."""

    def __init__(self, awaited: bool, outcomes: list[Outcome], retry: Retry | None = None, **options: Any) -> None:
        self.outcomes = outcomes
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []
        self.now = 0.0
        self.awaited = awaited
        self.options = options | {"retry": retry or Retry()}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, httpx.Response):
            return outcome
        raise outcome("as the test wants it")

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    async def await_(self, seconds: float) -> None:
        self.wait(seconds)

    def call(self, name: str, *args: Any, **options: Any) -> Any:
        transport = httpx.MockTransport(self)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("time.monotonic", lambda: self.now)
            patch.setattr(Client, "_sleep", staticmethod(self.wait))
            patch.setattr(AsyncClient, "_sleep", staticmethod(self.await_))
            if not self.awaited:
                with Client("http://server", transport=transport, **self.options) as client:
                    return getattr(client, name)(*args, **options)

            async def run() -> Any:
                async with AsyncClient("http://server", transport=transport, **self.options) as client:
                    return await getattr(client, name)(*args, **options)

            return anyio.run(run)


Make = Callable[..., Script]


@pytest.fixture(params=[False, True], ids=["blocking", "awaited"])
def make(request: pytest.FixtureRequest) -> Make:
    return lambda *outcomes, **options: Script(request.param, list(outcomes), **options)


def test_retry_after_is_obeyed(make: Make) -> None:
    script = make(busy(**{"retry-after": "7"}), problem(503, "not_ready", **{"retry-after": "2"}), npy())
    assert script.call("embed", [b"x"]).shape == (1, 3)
    assert script.waits == [7.0, 2.0]
    assert [request.content for request in script.requests] == [b"x"] * 3


def test_without_it_the_wait_is_random_and_grows(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    dates = {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}
    spans: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        spans.append((low, high))
        return high / 2

    monkeypatch.setattr("random.uniform", uniform)
    script = make(*[busy(**dates) for _ in range(6)], npy(), retry=Retry(attempts=9))
    script.call("embed", [b"x"])
    assert spans == [(0, 0.5), (0, 1.0), (0, 2.0), (0, 4.0), (0, 8.0), (0, 10.0)]
    assert script.waits == [high / 2 for _, high in spans]


def test_it_gives_up(make: Make) -> None:
    script = make(*[busy(**{"retry-after": "1"}) for _ in range(9)])
    with pytest.raises(Overloaded, match="so it is"):
        script.call("embed", [b"x"])
    assert len(script.requests) == 5
    script = make(*[busy(**{"retry-after": "50"}) for _ in range(9)])
    with pytest.raises(Overloaded):
        script.call("embed", [b"x"])
    assert script.waits == [50.0, 50.0]  # a third would be past the deadline of 120 seconds
    script = make(problem(503, "not_ready"), retry=Retry(attempts=1))
    with pytest.raises(NotReady):
        script.call("models")


def test_each_request_of_a_long_list_has_its_own_patience(make: Make) -> None:
    outcomes: list[Outcome] = []
    for _ in range(4):
        outcomes += [busy(**{"retry-after": "40"}), busy(**{"retry-after": "40"}), npy(1)]
    script = make(*outcomes, limits=Limits(max_items=1))
    assert script.call("embed", [b"x"] * 4).shape == (4, 3)


def test_the_timeout_is_what_is_left_until_the_deadline(make: Make) -> None:
    script = make(busy(**{"retry-after": "100"}), npy())
    script.call("embed", [b"x"])
    assert [request.extensions["timeout"]["read"] for request in script.requests] == [60.0, 20.0]


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError, httpx.ReadTimeout])
def test_a_broken_connection(make: Make, error: type[httpx.TransportError]) -> None:
    assert make(error, error, npy()).call("embed", [b"x"]).shape == (1, 3)
    script = make(*[error] * 9)
    with pytest.raises(Unreachable, match=rf"no server answers at http://server \({error.__name__}\)"):
        script.call("embed", [b"x"])
    assert len(script.requests) == 3
    done = httpx.Response(200, json={"result": True, "status": "ok", "time": 0})
    script = make(error, done)
    if error is httpx.ConnectError:  # nothing was sent
        script.call("create_collection", "a")
    else:  # it may have been made: a second time it would be there already
        with pytest.raises(Unreachable):
            script.call("create_collection", "a")
    assert len(script.requests) == (2 if error is httpx.ConnectError else 1)


def test_what_another_sending_cannot_change(make: Make) -> None:
    for outcome, kind in (
        (problem(404, "collection_not_found"), "CollectionNotFound"),
        (problem(500, "internal_error"), "AmclError"),
        (problem(507, "storage_full"), "StorageFull"),
    ):
        script = make(outcome)
        with pytest.raises(Exception, match="so it is") as raised:
            script.call("count", "a")
        assert raised.type.__name__ == kind
    script = make(httpx.UnsupportedProtocol)
    with pytest.raises(Unreachable):
        script.call("models")
    assert script.waits == []


def test_the_servers_time_was_up(make: Make) -> None:
    assert make(problem(504, "deadline_exceeded"), npy()).call("embed", [b"x"]).shape == (1, 3)
    with pytest.raises(ERRORS["deadline_exceeded"]):
        make(problem(504, "deadline_exceeded")).call("create_collection", "a")


def test_readiness_is_asked_once(make: Make) -> None:
    for outcome, expected in (
        (httpx.Response(200, json={"status": "ok"}), True),
        (problem(503, "not_ready", **{"retry-after": "2"}), False),
        (httpx.ConnectError, False),
    ):
        script = make(outcome)
        assert script.call("ready") is expected
        assert script.waits == []


def test_errors_by_their_code(make: Make) -> None:
    for code, error in ERRORS.items():
        with pytest.raises(error, match="because") as raised:
            make(problem(error.status, code, "because"), retry=Retry(attempts=1)).call("models")
        assert raised.type is error
    with pytest.raises(UnexpectedAnswer, match="418 teapot: short and stout"):
        make(problem(418, "teapot", "short and stout")).call("models")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'"text"', b"\x93NUMPY", b""])
@pytest.mark.parametrize("status", [200, 302, 404, 500])
def test_another_kind_of_server(make: Make, status: int, body: bytes) -> None:
    for call in (("embed", [b"x"]), ("embed", [b"x", b"y"]), ("models",), ("similarity", [b"x"], [b"x"])):
        with pytest.raises(UnexpectedAnswer, match="not as amcl-serve does"):
            make(httpx.Response(status, content=body)).call(*call)
    for call in (("collections",), ("count", "a"), ("scroll", "a"), ("similarity_cross", [b"x"], [b"x"])):
        with pytest.raises(UnexpectedAnswer, match="not as amcl-serve does"):
            make(httpx.Response(status, content=body)).call(*call)


def test_rows_that_do_not_fit_the_images(make: Make) -> None:
    for answer in (npy(3), npy(1), npy(1, **{"x-failed-indices": "2"}), npy(1, **{"x-failed-indices": "x"})):
        with pytest.raises(UnexpectedAnswer):
            make(answer).call("embed", [b"x", b"y"])


def test_an_image_that_fails_only_once_is_not_lost(make: Make) -> None:
    data = [{"index": 0, "embedding": [1.0, 2.0, 3.0]}, {"index": 1, "error": {"code": "new_one", "detail": "why"}}]
    second = httpx.Response(200, json={"model": "m", "digest": "d", "dim": 3, "data": data})
    script = make(npy(1, **{"x-failed-indices": "0,2"}), second)
    first, middle, last = script.call("embed_each", [b"x", b"y", b"z"], dtype="float16")
    assert first.tolist() == [1.0, 2.0, 3.0]
    assert first.dtype == np.float16
    assert middle.tolist() == [0.0, 0.0, 0.0]
    assert isinstance(last, UnexpectedAnswer)
    assert last.detail == "why"


def test_headers(make: Make) -> None:
    script = make(npy(), api_key="secret")
    script.call("embed", [b"x"], normalize=True)
    (request,) = script.requests
    assert request.headers["authorization"] == "Bearer secret"
    assert request.headers["user-agent"].startswith("amcl-serve/")
    assert request.headers["accept"] == "application/x-npy"
    assert dict(request.url.params) == {"outputs": "features", "normalize": "true", "dtype": "float32"}
    script = make(npy())
    script.call("embed", [b"x"])
    assert "authorization" not in script.requests[0].headers


def test_the_model_is_named_in_the_query(make: Make) -> None:
    done = httpx.Response(200, json={"result": True, "status": "ok", "time": 0})
    for answer, *call in (
        (npy(2), "embed", [b"x", b"y"]),
        (problem(404, "model_not_found"), "similarity", [b"x"], [b"y"]),
        (problem(404, "model_not_found"), "similarity_cross", [b"x"], [b"y"]),
        (done, "create_collection", "a"),
        (done, "upsert", "a", [Point(1, image=b"x")]),
    ):
        script = make(answer)
        with contextlib.suppress(ModelNotFound):
            script.call(*call, model="other")
        assert script.requests[0].url.params["model"] == "other"


@pytest.mark.parametrize("url", ["nonsense", "ftp://host", "http://", "http://a\nb"])
def test_what_is_no_url(url: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(Unreachable, match="is no URL; one looks like"):
            kind(url)


def test_the_client_brings_nothing_of_the_server() -> None:
    code = """
import sys, amcl_serve.client
heavy = {"fastapi", "starlette", "uvicorn", "pydantic", "onnxruntime", "faiss", "PIL", "torch"} & set(sys.modules)
ours = {name for name in sys.modules if name.startswith("amcl_serve.")}
print(sorted(heavy), sorted(n for n in ours if not n.startswith("amcl_serve.client") and n != "amcl_serve.errors"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] []\n"
