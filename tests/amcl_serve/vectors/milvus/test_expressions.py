"""What of a filter Milvus is asked for, and what is left for the reading of payloads."""

from __future__ import annotations

import pytest

pytest.importorskip("pymilvus", reason="pymilvus, the extra `milvus`, is not installed")

from amcl_serve.vectors.milvus.expressions import Expression, narrowed

A = {"key": "a.b", "match": {"value": "x"}}
IN_A = 'payload["a"]["b"] == "x" or json_contains(payload["a"]["b"], "x")'
IDS = {"has_id": [1]}
IN_IDS = 'key in ["00000000000000000001"]'
RANGE = {"key": "a", "range": {"gt": 1}}


@pytest.mark.parametrize(
    ("where", "text", "whole"),
    [
        (None, "", True),
        ({}, "", True),
        ({"must": A}, f"({IN_A})", True),
        ({"must": [A, IDS]}, f"({IN_A}) and ({IN_IDS})", True),
        ({"must": [A, RANGE]}, f"({IN_A})", False),
        ({"should": [A, IDS]}, f"(({IN_A}) or ({IN_IDS}))", True),
        ({"should": [A, RANGE]}, "", False),
        ({"should": [IDS], "must": [A]}, f"({IN_A}) and (({IN_IDS}))", True),
        ({"must_not": [A]}, "", False),
        ({"must": [{"must_not": [A]}, IDS]}, f"({IN_IDS})", False),
        ({"should": [{"must": [A, RANGE]}, IDS]}, f"((({IN_A})) or ({IN_IDS}))", False),
        ({"must": {"has_id": []}}, "", False),
        ({"must": {"key": "a", "match": {"value": 1}}}, "", False),
        ({"must": {"key": "a", "match": {"value": True}}}, "", False),
        ({"must": {"key": "a", "match": {"except": ["x"]}}}, "", False),
        ({"must": {"key": "a", "match": {"any": ["x"] * 33}}}, "", False),
    ],
)
def test_what_is_asked(where, text, whole):
    assert narrowed(where) == Expression(text, whole)


@pytest.mark.parametrize("value", ['"', "'", "\\", "\n", "\0", 'x" or key != "'])
def test_nothing_is_asked_that_would_need_escapes(value):
    assert narrowed({"must": {"key": "a", "match": {"value": value}}}) == Expression("", whole=False)


@pytest.mark.parametrize("key", ["0", "a.0", "naïve", "it's", "a b", "a-b"])
def test_no_member_is_asked_for_that_could_be_something_else(key):
    assert narrowed({"must": {"key": key, "match": {"value": "x"}}}) == Expression("", whole=False)
