from __future__ import annotations

import sqlite3
from contextlib import closing
from uuid import UUID

import numpy as np
import pytest

from amcl_serve.errors import (
    CollectionExists,
    CollectionMismatch,
    CollectionNotFound,
    InvalidRequest,
    PointNotFound,
)
from amcl_serve.vectors.sqlite.folder import DATABASE_FILE
from amcl_serve.vectors.types import Chosen, ModelRef, Point, Query
from tests.amcl_serve.vectors.points import A_UUID, TOP


def test_upsert_replaces_and_the_last_of_equal_ids_stays(store):
    store.create("a", 2, "Euclid")
    store.upsert("a", [Point(1, [0, 0], {"v": 1}), Point(2, [9, 9], {})])
    assert [hit.record.id for hit in store.query("a", Query([0, 0]))] == [1, 2]  # the index exists from here on
    assert store.upsert("a", [Point(1, [5, 5], {"v": 2}), Point(1, [8, 8], {"v": 3})]) == 2
    hits = store.query("a", Query([8, 8]))
    assert [(hit.record.id, float(hit.score)) for hit in hits] == [(1, 0.0), (2, np.float32(2**0.5))]
    assert (hits[0].record.payload, hits[0].record.version, hits[1].record.version) == ({"v": 3}, 2, 1)
    assert store.count("a") == 2


def test_a_refused_request_changes_nothing(store):
    store.create("a", 2, "Cosine")
    store.upsert("a", [Point(1, [1, 0], {})])
    with pytest.raises(InvalidRequest, match=r"points\[1\].vector"):
        store.upsert("a", [Point(2, [0, 1], {}), Point(3, [0, 0], {})])
    assert store.count("a") == 1
    assert store.get("a", 1).version == 1
    assert store.upsert("a", [Point(2, [0, 1], {})]) == 2


def test_delete_by_id_by_filter_and_by_both(store):
    store.create("a", 1, "Dot")
    store.upsert("a", [Point(i, [i], {"odd": bool(i % 2)}) for i in range(10)])
    assert len(store.query("a", Query([1]))) == 10
    store.delete("a", Chosen(ids=[0, 2, 77]))
    store.delete("a", Chosen(where={"must": [{"key": "odd", "match": {"value": True}}]}))
    assert [record.id for record in store.scroll("a", limit=10).records] == [4, 6, 8]
    assert [hit.record.id for hit in store.query("a", Query([1]))] == [8, 6, 4]
    store.delete("a", Chosen(ids=[4], where={"must": [{"has_id": [6]}]}))
    assert [hit.record.id for hit in store.query("a", Query([1]))] == [8]
    store.delete("a", Chosen(where={}))  # an empty filter matches every point, as Qdrant's does
    assert store.query("a", Query([1])) == []


def test_scroll_pages_in_order_of_ids(store):
    store.create("a", 1, "Dot")
    ids = [3, 1 << 63, TOP, 0, 10, UUID(int=1), A_UUID]
    store.upsert("a", [Point(i, [1], {}) for i in reversed(ids)])
    seen, start = [], None
    while True:
        page = store.scroll("a", limit=2, start=start)
        seen += [record.id for record in page.records]
        start = page.next_offset
        if start is None:
            break
    assert seen == [0, 3, 10, 1 << 63, TOP, UUID(int=1), A_UUID]


def test_collections_are_separate_and_dropped_whole(store, tmp_path):
    for name in ("a", "b"):
        store.create(name, 1, "Dot")
        store.upsert(name, [Point(1, [1], {"in": name})])
        store.query(name, Query([1]))
    assert store.drop("a") is True
    assert store.drop("a") is False
    assert store.names() == ["b"]
    assert store.get("b", 1).payload == {"in": "b"}
    store.create("a", 3, "Cosine")
    assert store.query("a", Query([1, 0, 0])) == []
    with closing(sqlite3.connect(tmp_path / "data" / DATABASE_FILE)) as connection:
        assert connection.execute("SELECT count(*) FROM points").fetchone() == (1,)


def test_missing_things(store):
    store.create("a", 1, "Dot")
    with pytest.raises(CollectionExists):
        store.create("a", 1, "Dot")
    for call in (
        store.describe,
        store.count,
        lambda n: store.query(n, Query([1])),
        lambda n: store.delete(n, Chosen(ids=[1])),
    ):
        with pytest.raises(CollectionNotFound, match="'nope'"):
            call("nope")
    with pytest.raises(PointNotFound):
        store.get("a", 5)
    with pytest.raises(PointNotFound):
        store.query("a", Query(5))


@pytest.mark.parametrize(
    "name", ["", ".a", "-a", "a/b", "a b", "ä", "a\n", "a'; DROP TABLE points; --", "a" * 129, "../a"]
)
def test_bad_names(store, name):
    with pytest.raises(InvalidRequest, match="name"):
        store.create(name, 1, "Dot")


def test_names_with_sql_in_them_find_nothing(store):
    store.create("a", 1, "Dot")
    store.upsert("a", [Point(1, [1], {})])
    for name in ("a' OR '1'='1", "a'; DROP TABLE points; --", "%", "a\0"):
        assert store.drop(name) is False
        with pytest.raises(CollectionNotFound):
            store.describe(name)
    assert store.count("a") == 1


@pytest.mark.parametrize(
    ("vector", "says"),
    [
        ([1, float("nan")], "NaN"),
        ([1, float("inf")], "infinity"),
        ([1, 1e300], "length"),
        ([1], "1 components.*size is 2"),
        ([1, 2, 3], "3 components"),
        ([0, 0], "zeros"),
    ],
)
def test_bad_vectors(store, vector, says):
    store.create("a", 2, "Cosine")
    with pytest.raises(InvalidRequest, match=rf"points\[0\]\.vector: .*{says}"):
        store.upsert("a", [Point(1, vector, {})])
    with pytest.raises(InvalidRequest, match=rf"query: .*{says}"):
        store.query("a", Query(vector))


def test_tiny_and_large_vectors_have_a_direction(store):
    store.create("a", 2, "Cosine")
    store.upsert("a", [Point(1, [1e-200, 0], {}), Point(2, [3e17, 4e17], {})])
    assert store.get("a", 1).vector.tolist() == [1, 0]
    assert store.get("a", 2).vector.tolist() == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"a": "x" * 65536}, "65544 bytes; at most 65536"),
        ({"a\0": 1}, "NUL"),
        ({"a": ["\0"]}, "NUL"),
        ({"a": float("nan")}, "NaN"),
        ({"a": "\ud800"}, "Unicode"),
        ({"a": 1 << 70}, "64-bit"),
    ],
)
def test_bad_payloads(store, payload, says):
    store.create("a", 1, "Dot")
    with pytest.raises(InvalidRequest, match=rf"points\[0\]\.payload: .*{says}"):
        store.upsert("a", [Point(1, [1], payload)])


def test_payload_depth_is_bounded(store):
    store.create("a", 1, "Dot")
    deep: object = 1
    for _ in range(30):
        deep = [deep]
    store.upsert("a", [Point(1, [1], {"a": deep})])
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(InvalidRequest, match="deeper than 32"):
        store.upsert("a", [Point(1, [1], {"a": deep})])


def test_limits_of_a_query(store):
    store.create("a", 1, "Dot")
    for query in (
        Query([1], limit=0),
        Query([1], limit=1001),
        Query([1], offset=-1),
        Query([1], limit=10, offset=9991),
    ):
        with pytest.raises(InvalidRequest, match="limit"):
            store.query("a", query)


def test_another_models_images_are_refused(store):
    mine, other = ModelRef("mine", "sha256:11", 2), ModelRef("other", "sha256:22", 2)
    store.create("a", 2, "Cosine")
    store.upsert("a", [Point(1, [1, 0], {})])
    assert store.describe("a").model is None
    store.upsert("a", [Point(2, [1, 0], {})], model=mine)
    assert store.describe("a").model == mine
    with pytest.raises(CollectionMismatch, match=r"mine \(sha256:11\).*other \(sha256:22\)"):
        store.upsert("a", [Point(3, [1, 0], {})], model=other)
    store.upsert("a", [Point(4, [1, 0], {})], model=ModelRef("renamed", "sha256:11", 2))
    with pytest.raises(CollectionMismatch, match=r"size 2.*size 3"):
        store.upsert("a", [Point(3, [1, 0], {})], model=ModelRef("mine", "sha256:11", 3))
    assert store.count("a") == 3
