"""duplicates, leaks, outliers and sample through Client and AsyncClient, and answers that break off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import httpx
import pytest
from starlette.testclient import TestClient

from amcl_serve.client import AsyncClient, Client, Point, Retry
from amcl_serve.errors import CollectionNotFound, DeadlineExceeded, InvalidRequest, UnexpectedAnswer, Unreachable
from amcl_serve.http.app import create_app
from amcl_serve.settings import Settings


@pytest.fixture(scope="module")
def app(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = Settings(
        model=str(tiny_bundle), data_dir=tmp_path_factory.mktemp("data"), session_threads=1, decode_threads=1
    )
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.fixture
def client(app: TestClient) -> Iterator[Client]:
    """A client whose requests the application in this process answers."""

    def handler(request: httpx.Request) -> httpx.Response:
        sent = {name: request.headers[name] for name in ("content-type",) if name in request.headers}
        answer = app.request(request.method, request.url.path, content=request.content, headers=sent)
        kind = {"content-type": answer.headers["content-type"]}
        return httpx.Response(answer.status_code, headers=kind, content=answer.content)

    with Client("http://127.0.0.1:1", transport=httpx.MockTransport(handler)) as client:
        for name in ("a", "b"):
            client.delete_collection(name)
            client.create_collection(name, size=2)
        client.upsert("a", [Point(i, {"h": "x", "i": i}, [1, i / 1000]) for i in range(300)])
        client.upsert("a", [Point(1000, {"h": "y"}, [-1, 0]), Point(1001, None, [-1, 0])])
        client.upsert("b", [Point(i, {"h": "x"}, [1, 0]) for i in range(300)])
        yield client


def test_long_groups_and_leaks_are_put_together(client: Client) -> None:
    found = client.duplicates("a", cosine=0.9999, with_payload=["i"])
    assert [len(group) for group in found["groups"]] == [300, 2]
    assert [point["payload"] for point in found["groups"][0]] == [{"i": i} for i in range(300)]
    assert (found["points"], found["duplicates"]) == (302, 300)
    where = {"must": [{"has_id": [0, 1000]}]}
    leaks = client.leaks("a", "b", cosine=0.9999, filter=where)
    (leak,) = leaks["leaks"]
    assert leak["id"] == 0
    assert [match["id"] for match in leak["matches"]] == list(range(300))
    assert (leaks["points"], leaks["against"], leaks["pairs"]) == (2, 300, 300)
    assert [len(group) for group in client.duplicates("a", hash="h")["groups"]] == [300]
    assert [point["id"] for point in client.outliers("a", limit=1, neighbours=5)] == [1000]
    sample = client.sample("a", limit=2)
    assert [point["id"] for point in sample["points"]][1] == 1000
    assert sample["radius"] == pytest.approx(1 - 0.958, abs=0.05)


def test_errors(client: Client) -> None:
    for cuts in ({}, {"cosine": 0.9, "hash": "h"}):
        with pytest.raises(ValueError, match="one of cosine, probability and hash"):
            client.duplicates("a", **cuts)  # type: ignore[arg-type]
    with pytest.raises(CollectionNotFound, match="none"):
        client.outliers("none")
    with pytest.raises(InvalidRequest, match="no model"):
        client.duplicates("a", probability=0.9)


def answering(*answers: Callable[[], httpx.Response]) -> httpx.MockTransport:
    coming = iter(answers)
    return httpx.MockTransport(lambda _: next(coming)())


def lines(*texts: str) -> Callable[[], httpx.Response]:
    return lambda: httpx.Response(200, content="".join(f"{text}\n" for text in texts))


RESULT = '{"result": {"points": 1, "radius": 0.5}, "status": "ok", "time": 1}'
PROBLEM = '{"code": "deadline_exceeded", "status": {"error": "late"}, "detail": "late"}'
URL = "http://127.0.0.1:1"


def test_progress_and_a_busy_server() -> None:
    shares: list[float] = []
    busy = httpx.Response(503, headers={"retry-after": "0"}, content=PROBLEM)
    answers = (lambda: busy, lines('{"progress": 0.25}', '{"progress": 0.5}', '{"point": {"id": 7}}', RESULT))
    with Client(URL, transport=answering(*answers)) as client:
        assert client.sample("a", progress=shares.append) == {"points": [{"id": 7}], "radius": 0.5}
    assert shares == [0.25, 0.5]

    async def awaited() -> object:
        async with AsyncClient(URL, transport=answering(lines(RESULT))) as client:
            return await client.sample("a")

    assert anyio.run(awaited) == {"points": [], "radius": 0.5}


def test_an_answer_that_breaks_off() -> None:
    late = answering(lines('{"progress": 0.25}', PROBLEM))
    with Client(URL, transport=late) as client, pytest.raises(DeadlineExceeded, match="late"):
        client.sample("a")
    for texts in (('{"progress": 0.25}',), ("[1]",), ("text",), ('{"group": 3}',)):
        with Client(URL, transport=answering(lines(*texts))) as client, pytest.raises(UnexpectedAnswer):
            client.duplicates("a", cosine=0.9)

    def broken() -> httpx.Response:
        def content() -> Iterator[bytes]:
            yield b'{"progress": 0.25}\n'
            raise httpx.ReadError("gone")

        return httpx.Response(200, content=content())

    with Client(URL, transport=answering(broken)) as client, pytest.raises(Unreachable, match="ReadError"):
        client.outliers("a")

    def refusing() -> httpx.Response:
        raise httpx.ConnectError("nobody")

    patience = Retry(attempts=1)
    with Client(URL, retry=patience, transport=answering(refusing)) as client, pytest.raises(Unreachable):
        client.outliers("a")
