from __future__ import annotations

from typing import Any

import pytest

from app import filters


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ("  ", None),
        ("a=b", {"must": [{"key": "a", "match": {"value": "b"}}]}),
        ("a.b = big cat", {"must": [{"key": "a.b", "match": {"value": "big cat"}}]}),
        ("a!=4", {"must_not": [{"key": "a", "match": {"value": 4}}]}),
        ('a="4", b=true', {"must": [{"key": "a", "match": {"value": "4"}}, {"key": "b", "match": {"value": True}}]}),
        ("n>=0.4, n<1", {"must": [{"key": "n", "range": {"gte": 0.4}}, {"key": "n", "range": {"lt": 1}}]}),
        ("n=0.5", {"must": [{"key": "n", "range": {"gte": 0.5, "lte": 0.5}}]}),
        (' {"must": []}', {"must": []}),
    ],
)
def test_a_filter_becomes_the_apis(text: str, found: dict[str, Any] | None) -> None:
    assert filters.read(text) == found


@pytest.mark.parametrize(("text", "said"), [("a", "no comparison"), ("a>b", "takes a number"), ('{"must":', "no JSON")])
def test_a_bad_filter_says_what_would_be_right(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        filters.read(text)
