"""A shadow follows its collection, and after the swap takes over what came late."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from amcl_serve.client import Client, Point
from amcl_serve.commands.reindexing.images import Images, Unobtainable, recorded
from amcl_serve.commands.reindexing.shadow import Shadow
from tests.amcl_serve.commands.index.server import Server
from tests.images import photo


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client
        for name in ("old", "new"):
            client.delete_collection(name)


def put(client: Client, name: str, points: dict[int, str], **options: Any) -> None:
    written = [Point(point, {"says": says}, image=photo(point)) for point, says in points.items()]
    client.upsert(name, written, **options)


def contents(client: Client, name: str) -> dict[Any, str]:
    return {point["id"]: point["payload"]["says"] for point in client.scroll(name, limit=100)["points"]}


def shadow_of(client: Client) -> Shadow:
    client.create_collection("old", thumbnails=True)
    client.create_collection("new", model="other", thumbnails=True)
    put(client, "old", dict.fromkeys(range(8), "first"))
    return Shadow(client, "old", "new", "other", Images(client, "old", thumbnails=True), batch=3)


def quiet(*_: str) -> None:
    pass


def test_it_follows_until_nothing_changes(client: Client) -> None:
    shadow = shadow_of(client)
    assert shadow.follow(quiet) == 8
    assert shadow.follow(quiet) == 0
    put(client, "old", {3: "second", 20: "first"})
    client.delete("old", [5, 6])
    put(client, "new", {99: "nobody's"}, model="other")
    assert shadow.follow(quiet) == 5
    assert contents(client, "new") == contents(client, "old")
    assert shadow.ids == [0, 1, 2, 20, 3, 4, 7]


def test_what_came_late_is_taken_over_and_what_is_newer_stays(client: Client) -> None:
    shadow = shadow_of(client)
    shadow.follow(quiet)
    put(client, "old", {0: "late", 1: "late", 20: "late"})
    client.delete("old", [2, 3])
    put(client, "new", {1: "newer", 3: "newer", 30: "newer"}, model="other")  # as after the swap
    client.delete("new", [4])
    shadow.catch_up(quiet)
    assert contents(client, "new") == {
        **dict.fromkeys((5, 6, 7), "first"),
        **dict.fromkeys((0, 20), "late"),
        **dict.fromkeys((1, 3, 30), "newer"),
    }


def test_only_what_was_indexed_is_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("in/a.jpg", "secret.jpg"):
        (tmp_path / name).write_bytes(photo(1))
    sha256 = hashlib.sha256(photo(1)).hexdigest()
    good: dict[str, Any] = {"folder": str(tmp_path / "in"), "path": "a.jpg", "sha256": sha256}
    assert recorded(good) == photo(1)
    for change, says in (
        ({"path": "../secret.jpg"}, "out of its folder"),
        ({"path": str(tmp_path / "secret.jpg")}, "out of its folder"),
        ({"path": "b.jpg"}, "is gone"),
        ({"path": "a\0b.jpg"}, "is gone|cannot be read"),
        ({"path": "."}, "is gone"),
        ({"sha256": "0" * 64}, "has changed"),
        ({"sha256": None}, "no file is recorded"),
        ({"folder": 3}, "no file is recorded"),
    ):
        with pytest.raises(Unobtainable, match=says):
            recorded(good | change)
