"""Filters as Milvus' expressions, as far as both surely mean the same.

What Milvus makes of a missing member under `not`, of 1 beside 1.0, or of a number in an array has changed between its
versions; such conditions are left out, and decided by `matching.predicate` on what is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from amcl_serve.vectors.matching import conditions
from amcl_serve.vectors.types import Filter
from amcl_serve.vectors.values import id_to_key, parse_point_id

MAX_TEXTS = 32  # of one condition: each becomes two comparisons
MAX_KEYS = 1000  # of one condition

_MEMBER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # Milvus takes a number for a place in an array
_PLAIN = re.compile(r'[^"\'\\\x00-\x1f\x7f]{0,256}')  # texts without anything to escape


@dataclass(frozen=True)
class Expression:
    """What Milvus is asked for, empty for every point; `whole` if that is all the filter says, else it finds more."""

    text: str = ""
    whole: bool = True


_ANYTHING = Expression("", whole=False)


def narrowed(where: Filter | None) -> Expression:
    """The expression of a filter, which has been checked (see matching.predicate)."""
    if where is None:
        return Expression()
    parts = [_condition(condition) for condition in conditions(where, "must")]
    should = [_condition(condition) for condition in conditions(where, "should")]
    if should:
        parts.append(_either(should))
    if conditions(where, "must_not"):
        parts.append(_ANYTHING)
    texts = [f"({part.text})" for part in parts if part.text]
    return Expression(" and ".join(texts), all(part.whole for part in parts))


def with_keys(keys: Sequence[str]) -> str:
    """That a point is one of these."""
    return f"key in {orjson.dumps(list(keys)).decode()}"


def both(first: str, second: str) -> str:
    """Of two expressions, which may be empty."""
    return f"({first}) and ({second})" if first and second else first or second


def _either(parts: Sequence[Expression]) -> Expression:
    if not all(part.text for part in parts):  # one of them says nothing that Milvus could look for
        return Expression("", all(part.whole for part in parts))
    return Expression(" or ".join(f"({part.text})" for part in parts), all(part.whole for part in parts))


def _condition(condition: Mapping[str, Any]) -> Expression:
    if "has_id" in condition:
        keys = [id_to_key(parse_point_id(value)) for value in condition["has_id"]]
        return Expression(with_keys(keys)) if 0 < len(keys) <= MAX_KEYS else _ANYTHING
    if "match" in condition:
        return _match(condition["key"], condition["match"])
    if {"key", "is_empty", "is_null"} & set(condition):
        return _ANYTHING
    return narrowed(condition)


def _match(key: str, match: Mapping[str, Any]) -> Expression:
    ((kind, wanted),) = match.items()
    texts = wanted if isinstance(wanted, list) else [wanted]
    members = key.split(".")
    if kind == "except" or not 0 < len(texts) <= MAX_TEXTS or not all(map(_MEMBER.fullmatch, members)):
        return _ANYTHING
    if not all(isinstance(text, str) and _PLAIN.fullmatch(text) for text in texts):
        return _ANYTHING
    at = "payload" + "".join(f'["{member}"]' for member in members)
    return Expression(" or ".join(f'{at} == "{text}" or json_contains({at}, "{text}")' for text in texts))
