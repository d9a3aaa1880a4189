"""Points of every kind in one call: checked whole before anything is sent, and named by their place in the call."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import PIL.Image
import pytest

from amcl_serve.client import AsyncClient, Client, Limits, Point, Retry
from amcl_serve.errors import InvalidRequest, Overloaded, UndecodableImage
from tests.images import truncated

Upsert = Callable[..., int]


def done() -> httpx.Response:
    return httpx.Response(200, json={"result": {"operation_id": 1, "status": "completed"}, "status": "ok", "time": 0})


class Requests:
    """What was sent; each is answered with the next of `answers`, or that it is done."""

    def __init__(self) -> None:
        self.seen: list[httpx.Request] = []
        self.answers: list[httpx.Response] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return self.answers.pop(0) if self.answers else done()


@pytest.fixture
def requests() -> Requests:
    return Requests()


@pytest.fixture(params=["blocking", "awaited"])
def upsert(requests: Requests, request: pytest.FixtureRequest) -> Upsert:
    def send(points: Any, **limits: int) -> int:
        options: dict[str, Any] = {"transport": httpx.MockTransport(requests), "limits": Limits(**limits)}
        if request.param == "blocking":
            with Client("http://server", **options) as client:
                return client.upsert("a", points)

        async def run() -> int:
            async with AsyncClient("http://server", **options) as client:
                return await client.upsert("a", points)

        return anyio.run(run)

    return send


def ids(request: httpx.Request) -> list[int]:
    return [point["id"] for point in json.loads(request.content)["points"]]


def test_vectors_and_images_in_one_call(upsert: Upsert, requests: Requests, tmp_path: Path) -> None:
    (tmp_path / "c.png").write_bytes(b"file")
    points = [Point(0, {"n": 1}, vector=[1, 2]), Point(1, image=b"bytes"), Point(2, image=tmp_path / "c.png")]
    assert upsert(points) == 3
    (request,) = requests.seen
    first, second, third = json.loads(request.content)["points"]
    assert first == {"id": 0, "payload": {"n": 1}, "vector": [1.0, 2.0]}
    assert second == {"id": 1, "payload": None, "image": "Ynl0ZXM="}
    assert third == {"id": 2, "payload": None, "image": "ZmlsZQ=="}


def test_images_alone_go_as_a_form(upsert: Upsert, requests: Requests) -> None:
    assert upsert(Point(seed, image=b"x") for seed in range(5)) == 5
    (request,) = requests.seen
    assert request.headers["content-type"].startswith("multipart/form-data")


def test_many_points_take_several_requests_in_their_order(upsert: Upsert, requests: Requests) -> None:
    points = [Point(seed, vector=[seed]) if seed % 3 else Point(seed, image=b"x" * 50) for seed in range(11)]
    assert upsert(points, max_items=4) == 11
    assert [ids(request) for request in requests.seen] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]


def test_a_request_stays_under_its_bytes(upsert: Upsert, requests: Requests) -> None:
    points = [Point(0, vector=[0.5]), *(Point(seed, image=b"x" * 3000) for seed in range(1, 9))]
    assert upsert(points, max_bytes=10_000) == 9
    assert len(requests.seen) == 4
    assert all(len(request.content) <= 10_000 for request in requests.seen)


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "an id": (Point(-1, vector=[1.0]), ValueError, r"points\[2\]: an id is an integer from 0 .* not -1"),
    "an id that is no UUID": (Point("cat", vector=[1.0]), ValueError, r"points\[2\]: an id is"),
    "a payload": (Point(1, {"a": object()}, vector=[1.0]), ValueError, r"points\[2\]: the payload is no JSON"),
    "a vector": (Point(1, vector=[[1.0]]), ValueError, r"points\[2\]: a vector is a list of finite numbers"),  # type: ignore[list-item]
    "no numbers": (Point(1, vector=[float("nan")]), ValueError, r"points\[2\]: a vector is"),
    "nothing": (Point(1, vector=[]), ValueError, r"points\[2\]: a vector is"),
    "a file": (Point(1, image="/nowhere/cat.jpg"), FileNotFoundError, "cat.jpg"),
    "pixels": (Point(1, image=np.zeros((4, 4), np.float32)), TypeError, "an array of pixels is uint8"),  # type: ignore[arg-type]
    "no pixels": (Point(1, image=np.zeros((0, 4), np.uint8)), TypeError, "an array of pixels is uint8"),
    "another size": (
        Point(1, vector=[1.0, 2.0]),
        ValueError,
        r"points\[2\]: its vector has 2 numbers, that of points\[0\] 1",
    ),
    "no image": (Point(1, image=3), TypeError, "an image is a path"),  # type: ignore[arg-type]
    "no point": ({"id": 1}, TypeError, r"points\[2\]: a point is an amcl_serve.client.Point"),
}


def test_nothing_is_sent_of_a_call_with_a_damaged_picture(upsert: Upsert, requests: Requests) -> None:
    cut = PIL.Image.open(io.BytesIO(truncated()))
    with pytest.raises(OSError, match="truncated"):
        upsert([Point(0, vector=[1.0]), Point(1, image=cut)], max_items=1)
    assert requests.seen == []


@pytest.mark.parametrize("kind", WRONG)
def test_nothing_is_sent_of_a_call_with_something_wrong(upsert: Upsert, requests: Requests, kind: str) -> None:
    wrong, error, says = WRONG[kind]
    with pytest.raises(error, match=says):
        upsert([Point(0, vector=[1.0]), Point(1, image=b"x"), wrong], max_items=1)
    assert requests.seen == []


def test_what_the_server_refuses_is_named_by_its_place_in_the_call(upsert: Upsert, requests: Requests) -> None:
    items = [{"operand": "points", "index": 1, "code": "undecodable_image", "detail": "damaged"}]
    body = {"code": "undecodable_image", "detail": "points[1]: damaged", "errors": items}
    requests.answers = [done(), httpx.Response(400, json=body)]
    points = [Point(seed, vector=[1.0]) for seed in range(4)]
    with pytest.raises(UndecodableImage, match="damaged") as raised:
        upsert(points, max_items=2)
    (item,) = raised.value.items
    assert (item.operand, item.index, item.code, item.detail) == ("points", 3, "undecodable_image", "damaged")


def test_a_problem_without_items_has_none(upsert: Upsert, requests: Requests) -> None:
    requests.answers = [httpx.Response(422, json={"code": "invalid_request", "detail": "so it is"})]
    with pytest.raises(InvalidRequest) as raised:
        upsert([Point(0, vector=[1.0])])
    assert raised.value.items == ()


def test_an_images_place_is_that_in_the_call_too() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if b"<the fourth>" not in request.content:
            stream = io.BytesIO()
            np.save(stream, np.zeros((2, 3), np.float32))
            return httpx.Response(200, content=stream.getvalue())
        items = [{"operand": "files", "index": 1, "code": "overloaded", "detail": "busy"}]
        return httpx.Response(429, json={"code": "overloaded", "detail": "busy", "errors": items})

    options: dict[str, Any] = {"limits": Limits(max_items=2), "retry": Retry(attempts=1)}
    client = Client("http://server", transport=httpx.MockTransport(answer), **options)
    with client, pytest.raises(Overloaded) as raised:
        client.embed([b"0", b"1", b"2", b"<the fourth>"])
    assert [item.index for item in raised.value.items] == [3]
