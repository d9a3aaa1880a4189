"""Every condition against a transcription in Python, on payloads of every JSON type."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amcl_serve.errors import InvalidRequest
from amcl_serve.vectors.store import SqliteStore
from amcl_serve.vectors.types import Chosen, Point, Query
from tests.amcl_serve.vectors.conditions import FILTERS, PAYLOADS, holds


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = SqliteStore(tmp_path_factory.mktemp("filters"))
    store.create("a", 1, "Dot")
    store.create("indexed", 1, "Dot")
    for field in ("a", "b", "a.b", "it's"):
        store.index_field("indexed", field, "keyword")
    yield store
    store.close()


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(payloads=st.lists(PAYLOADS, min_size=1, max_size=5), where=FILTERS)
def test_filters_agree_with_python(store, payloads, where):
    points = [Point(i, [1], payload) for i, payload in enumerate(payloads)]
    expected = [point.id for point in points if holds(where, point)]
    for name in ("a", "indexed"):
        store.delete(name, Chosen(where={}))
        store.upsert(name, points)
        found = [record.id for record in store.scroll(name, limit=100, where=where).records]
        assert found == expected
        assert store.count(name, where) == len(found)
        assert {hit.record.id for hit in store.query(name, Query([1], filter=where))} == set(found)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ([], "filter: a filter is an object"),
        ({"any_of": []}, "filter: a filter is an object of must, should, must_not"),
        ({"must": [{"key": "a"}]}, r"filter\.must\[0\]: a condition is"),
        ({"must": [{}]}, r"filter\.must\[0\]: a condition is"),
        ({"must": ["a"]}, r"filter\.must\[0\]: a condition is"),
        ({"should": [{"key": "a", "match": {"value": 1.5}}]}, r"filter\.should\[0\]\.match: .*range"),
        ({"must": [{"key": "a", "match": {"value": None}}]}, "match"),
        ({"must": [{"key": "a", "match": {"value": 1 << 63}}]}, "64 bits"),
        ({"must": [{"key": "a", "match": {"value": "\0"}}]}, "NUL"),
        ({"must": [{"key": "a", "match": {"value": "\ud800"}}]}, "Unicode"),
        ({"must": [{"key": "a", "match": {"any": ["x", 1]}}]}, "list of strings or of integers"),
        ({"must": [{"key": "a", "match": {"any": "x"}}]}, r"match\.any: a list"),
        ({"must": [{"key": "a", "match": {"text": "x"}}]}, "one of value, any, except"),
        ({"must": [{"key": "a", "range": {"gt": "1"}}]}, r"range\.gt: a finite number"),
        ({"must": [{"key": "a", "range": {"gt": float("nan")}}]}, "finite"),
        ({"must": [{"key": "a", "range": {"gt": 10**400}}]}, "finite"),
        ({"must": [{"key": "a", "range": {"over": 1}}]}, "gt, gte, lt, lte"),
        ({"must": [{"has_id": [-1]}]}, "unsigned 64-bit integer or a UUID"),
        ({"must": [{"has_id": list(range(10_001))}]}, "at most 10000"),
        (
            {"must": [{"has_id": list(range(5_001))}, {"key": "a", "match": {"any": [1] * 5_000}}]},
            r"must\[1\]: .*10000",
        ),
        ({"must": [{"is_empty": "a"}]}, "is_empty"),
        ({"must": [{"is_null": {"key": "a", "x": 1}}]}, "is_null"),
        ({"must": [{"is_null": {"key": "a"}}] * 129}, "more than 128 conditions"),
    ],
)
def test_bad_filters_name_the_place(store, where, says):
    with pytest.raises(InvalidRequest, match=says):
        store.count("a", where)


@pytest.mark.parametrize(
    "key",
    [
        "",
        ".",
        "a..b",
        "a.",
        'a"b',
        "a\\b",
        "a[0]",
        "$[0]\"' OR 1=1 --",
        "a\n",
        "a\0",
        "\ud800",
        5,
        None,
        "x" * 129,
        ".".join("a" * 17),
    ],
)
def test_bad_keys(store, key):
    with pytest.raises(InvalidRequest, match="a key is"):
        store.count("a", {"must": [{"is_null": {"key": key}}]})


def test_sql_in_keys_and_values_is_text(store):
    store.delete("a", Chosen(where={}))
    evil = "x') OR 1=1; DROP TABLE points; --"
    store.upsert("a", [Point(1, [1], {evil: evil}), Point(2, [1], {"a": "b"})])
    for key in (evil, "a' OR '1'='1", "?", "$", "%"):
        found = store.scroll("a", limit=9, where={"must": [{"key": key, "match": {"value": evil}}]}).records
        assert [record.id for record in found] == ([1] if key == evil else [])
    assert store.count("a") == 2


def test_the_deepest_and_widest_filter_runs(store):
    where: dict[str, Any] = {"should": [{"key": "a", "range": {"gt": 1, "lt": 2}}] * 119}
    for _ in range(8):
        where = {"must": [where]}
    store.count("a", where)
    with pytest.raises(InvalidRequest, match="nested deeper than 8"):
        store.count("a", {"must_not": [where]})
