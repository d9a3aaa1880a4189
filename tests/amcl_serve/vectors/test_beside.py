"""What is kept beside points goes where they go."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from amcl_serve.errors import CollectionNotFound, InvalidRequest, PointNotFound
from amcl_serve.vectors.sqlite.folder import DATABASE_FILE
from amcl_serve.vectors.store import SqliteStore
from amcl_serve.vectors.types import Chosen, Point


def heads(seed):
    found = np.random.default_rng(seed).normal(size=(3, 4)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def image(point, seed):
    return Point(point, [1, seed], {"seed": seed}, f"thumbnail {seed}".encode(), heads(seed))


def left(folder):
    with closing(sqlite3.connect(folder / "data" / DATABASE_FILE)) as connection:
        return [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("thumbnails", "heads")]


def test_they_are_of_the_last_image_of_a_point_and_stay_when_its_payload_changes(store):
    store.create("a", 2, "Dot", thumbnails=True, heads=True)
    store.upsert("a", [image(1, 1), image(2, 2), image(1, 3)])
    store.upsert("a", [image(2, 4)])
    store.set_payload("a", Chosen(ids=[1]), {"name": "x"})
    assert [store.thumbnail("a", point) for point in (1, 2)] == [b"thumbnail 3", b"thumbnail 4"]
    found = store.heads("a", [2, 1, 9])
    assert set(found) == {1, 2}
    assert found[1].dtype == np.float32
    np.testing.assert_allclose(found[1].reshape(3, 4), heads(3), atol=5e-4)
    with pytest.raises(PointNotFound):
        store.thumbnail("a", 9)
    with pytest.raises(CollectionNotFound):
        store.heads("b", [1])


def test_a_store_that_is_opened_again_has_them(tmp_path):
    store = SqliteStore(tmp_path)
    store.create("a", 2, "Dot", thumbnails=True, heads=True)
    store.upsert("a", [image(1, 1)])
    store.close()
    store = SqliteStore(tmp_path)
    info = store.describe("a")
    assert (info.thumbnails, info.heads) == (True, True)
    assert store.thumbnail("a", 1) == b"thumbnail 1"
    assert store.heads("a", [1]).keys() == {1}
    store.close()


def test_they_go_with_their_points(store, tmp_path):
    store.create("a", 2, "Dot", thumbnails=True, heads=True)
    store.create("b", 2, "Dot", thumbnails=True, heads=True)
    store.upsert("a", [image(i, i) for i in range(10)])
    store.upsert("b", [image(i, i) for i in range(10)])
    store.delete("a", Chosen(ids=[0, 1, 2]))
    assert left(tmp_path) == [17, 17]
    store.upsert("a", [image(3, 30)])
    assert left(tmp_path) == [17, 17]
    store.drop("b")
    assert left(tmp_path) == [7, 7]


def test_what_is_not_asked_for_is_not_kept(store, tmp_path):
    store.create("a", 2, "Dot")
    store.upsert("a", [image(1, 1)])
    assert store.thumbnail("a", 1) is None
    assert store.heads("a", [1]) == {}
    store.create("b", 2, "Dot", thumbnails=True)
    store.upsert("b", [image(1, 1), Point(2, [1, 1], {})])
    assert [store.thumbnail("b", point) for point in (1, 2)] == [b"thumbnail 1", None]
    assert left(tmp_path) == [1, 0]


def test_a_vector_has_no_heads(store):
    store.create("a", 2, "Dot", heads=True)
    with pytest.raises(InvalidRequest, match=r"keeps heads.*by their images"):
        store.upsert("a", [image(1, 1), Point(2, [1, 1], {})])
    assert store.count("a") == 0
