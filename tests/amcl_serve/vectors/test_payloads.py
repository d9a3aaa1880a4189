"""Payloads that are changed by themselves, and fields of them that are indexed."""

from __future__ import annotations

import sqlite3

import pytest

from amcl_serve.errors import InvalidRequest
from amcl_serve.vectors.sqlite.folder import DATABASE_FILE
from amcl_serve.vectors.store import SqliteStore
from amcl_serve.vectors.types import Chosen, Order, Point, Query

EVEN = {"must": [{"key": "even", "match": {"value": True}}]}


@pytest.fixture
def points(store):
    store.create("a", 1, "Dot")
    store.upsert("a", [Point(i, [i], {"n": i, "even": i % 2 == 0}) for i in range(6)])
    return store


def payloads(store):
    return {record.id: record.payload for record in store.scroll("a", limit=100).records}


def test_members_are_set_beside_others(points):
    before = points.describe("a")
    assert points.set_payload("a", Chosen(ids=[1, 77], where=EVEN), {"n": None, "new": {"x": [1]}, "ä": "é"}) == 2
    found = payloads(points)
    assert found[3] == {"n": 3, "even": False}
    for identity in (0, 1, 2, 4):
        assert found[identity] == {"n": None, "even": identity != 1, "new": {"x": [1]}, "ä": "é"}
    assert (points.get("a", 1).version, points.get("a", 3).version) == (2, 1)
    assert points.describe("a") == before
    hits = points.query("a", Query([1], limit=2))  # the index follows
    assert [(hit.record.id, hit.record.payload.get("new")) for hit in hits] == [(5, None), (4, {"x": [1]})]


@pytest.mark.parametrize(
    ("payload", "key", "after"),
    [
        ({"a": {"b": {"c": 1}}}, "a.b", {"a": {"b": {"c": 1, "new": 2}}}),
        ({"a": {"x": 1}}, "a.b", {"a": {"x": 1, "b": {"new": 2}}}),
        ({}, "a.b", {"a": {"b": {"new": 2}}}),
        ({"a": 5}, "a.b", {"a": {"b": {"new": 2}}}),
    ],
)
def test_members_are_set_in_an_object_inside(store, payload, key, after):
    store.create("a", 1, "Dot")
    store.upsert("a", [Point(1, [1], payload)])
    store.set_payload("a", Chosen(ids=[1]), {"new": 2}, key=key)
    assert payloads(store) == {1: after}


def test_many_members(points):
    many = {f"key {number}": [number] for number in range(2000)}
    points.set_payload("a", Chosen(ids=[0]), many)
    assert payloads(points)[0] == {"n": 0, "even": True, **many}
    points.delete_payload("a", Chosen(ids=[0]), list(many))
    assert payloads(points)[0] == {"n": 0, "even": True}


def test_overwritten_and_deleted(points):
    points.overwrite_payload("a", Chosen(ids=[0]), {"only": 1})
    points.delete_payload("a", Chosen(ids=[1, 2]), ["n", "nope", "a.b"])
    assert payloads(points) == {0: {"only": 1}, 1: {"even": False}, 2: {"even": True}} | {
        i: {"n": i, "even": i % 2 == 0} for i in (3, 4, 5)
    }


def test_a_payload_that_grows_too_large_changes_nothing(points):
    points.set_payload("a", Chosen(ids=[1]), {"x": "x" * 60_000})
    before = payloads(points)
    with pytest.raises(InvalidRequest, match="that of 1 points would have more than 65536 bytes"):
        points.set_payload("a", Chosen(ids=[0, 1]), {"y": "y" * 10_000})
    with pytest.raises(InvalidRequest, match="quotation marks"):
        points.set_payload("a", Chosen(ids=[0]), {'"': 1})
    assert payloads(points) == before
    assert points.get("a", 0).version == 1


def test_fields_are_indexed_as_they_are_and_as_they_change(points):
    points.index_field("a", "n", "integer")
    assert points.index_field("a", "n", "integer") == 1  # again is no error
    (field,) = points.fields("a")
    assert (field.name, field.schema, field.filled, field.points) == ("n", "integer", True, 6)
    where = {"must": [{"key": "n", "range": {"gte": 3}}]}
    assert points.count("a", where) == 3
    points.set_payload("a", Chosen(ids=[0]), {"n": [3, 4.5]})
    points.upsert("a", [Point(1, [1], {"n": 9}), Point(50, [1], {"n": 50})])
    points.delete("a", Chosen(ids=[5]))
    points.delete_payload("a", Chosen(ids=[4]), ["n"])
    found = [record.id for record in points.scroll("a", limit=9, where=where).records]
    assert found == [0, 1, 3, 50]
    assert points.fields("a")[0].points == 5
    points.forget_field("a", "n")
    points.forget_field("a", "n")
    assert points.fields("a") == []
    assert points.count("a", where) == 4


def test_points_in_the_order_of_a_field(points):
    with pytest.raises(InvalidRequest, match="'n' has no index"):
        points.scroll_by("a", Order("n"), limit=3)
    points.index_field("a", "n", "integer")
    points.set_payload("a", Chosen(ids=[0]), {"n": 2.5})

    def order(limit=9, where=None, **options):
        found = points.scroll_by("a", Order("n", **options), limit=limit, where=where)
        return [(record.id, value) for record, value in found]

    assert order() == [(1, 1), (2, 2), (0, 2.5), (3, 3), (4, 4), (5, 5)]
    assert order(descending=True, limit=2) == [(5, 5), (4, 4)]
    assert order(start=2.5, limit=2) == [(0, 2.5), (3, 3)]
    assert order(start=2.5, descending=True) == [(0, 2.5), (2, 2), (1, 1)]
    assert order(where=EVEN) == [(2, 2), (0, 2.5), (4, 4)]


def test_a_field_whose_filling_was_killed_is_filled_when_the_store_opens(tmp_path, monkeypatch):
    store = SqliteStore(tmp_path)
    store.create("a", 1, "Dot")
    store.upsert("a", [Point(i, [i], {"n": i}) for i in range(10)])
    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "_fill_field", lambda *_: None)
        store.index_field("a", "n", "integer")
    assert not store.fields("a")[0].filled
    where = {"must": [{"key": "n", "match": {"value": 3}}]}
    assert store.count("a", where) == 1  # without the index
    store.upsert("a", [Point(3, [1], {"n": 4})])
    store.close()
    store = SqliteStore(tmp_path)
    assert store.fields("a")[0].filled
    assert store.fields("a")[0].points == 10
    assert store.count("a", where) == 0
    store.close()
    with sqlite3.connect(tmp_path / DATABASE_FILE) as connection:
        assert connection.execute("SELECT count(*) FROM field_values").fetchone() == (10,)
