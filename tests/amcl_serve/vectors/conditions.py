"""Filters and payloads of every kind, and what a filter says, transcribed into Python."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from amcl_serve.vectors.types import Point

MISSING = object()


def resolve(payload: Any, key: str) -> Any:
    for member in key.split("."):
        if not isinstance(payload, dict) or member not in payload:
            return MISSING
        payload = payload[member]
    return payload


def same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and a == b


def holds(condition: dict[str, Any], point: Point) -> bool:
    if not set(condition) - {"must", "should", "must_not"}:
        parts = {name: [holds(c, point) for c in condition.get(name, [])] for name in ("must", "should", "must_not")}
        return all(parts["must"]) and (any(parts["should"]) or not parts["should"]) and not any(parts["must_not"])
    if "has_id" in condition:
        return point.id in condition["has_id"]
    if "is_empty" in condition:
        value = resolve(point.payload, condition["is_empty"]["key"])
        return value is MISSING or value is None or value == []
    if "is_null" in condition:
        return resolve(point.payload, condition["is_null"]["key"]) is None
    value = resolve(point.payload, condition["key"])
    elements = value if isinstance(value, list) else [] if value is MISSING or isinstance(value, dict) else [value]
    if "range" in condition:
        tests = {
            "gt": lambda a, b: a > b,
            "gte": lambda a, b: a >= b,
            "lt": lambda a, b: a < b,
            "lte": lambda a, b: a <= b,
        }
        numbers = [e for e in elements if isinstance(e, int | float) and not isinstance(e, bool)]
        return any(all(tests[name](e, bound) for name, bound in condition["range"].items()) for e in numbers)
    ((kind, wanted),) = condition["match"].items()
    if kind == "value":
        return any(same(e, wanted) for e in elements)
    if kind == "any":
        return any(same(e, w) for e in elements for w in wanted)
    return any(e is not None and not any(same(e, w) for w in wanted) for e in elements)


NUMBERS = st.sampled_from([-1, 0, 1, 2, 0.5, 1.0, 2.5])
TEXTS = st.sampled_from(["", "a", "b", "é", "1", "true", "it's", 'say "x"', "%"])
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.sampled_from(["b", "c"]), SCALARS, max_size=2)
PAYLOADS = st.dictionaries(st.sampled_from(["a", "b", "naïve key", "it's"]), VALUES, max_size=4)
KEYS = st.sampled_from(["a", "b", "a.b", "a.c", "naïve key", "it's", "a.b.c"])
INTEGERS = st.sampled_from([-1, 0, 1, 2])
LISTS = st.lists(TEXTS, max_size=3) | st.lists(INTEGERS, max_size=3)
MATCHES = st.one_of(
    (st.booleans() | INTEGERS | TEXTS).map(lambda v: {"value": v}),
    LISTS.map(lambda v: {"any": v}),
    LISTS.map(lambda v: {"except": v}),
)
RANGES = st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), NUMBERS, min_size=1, max_size=2)
CONDITIONS = st.one_of(
    st.builds(lambda k, m: {"key": k, "match": m}, KEYS, MATCHES),
    st.builds(lambda k, r: {"key": k, "range": r}, KEYS, RANGES),
    st.lists(st.integers(0, 6), max_size=3).map(lambda ids: {"has_id": ids}),
    KEYS.map(lambda k: {"is_empty": {"key": k}}),
    KEYS.map(lambda k: {"is_null": {"key": k}}),
)


def clauses(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["must", "should", "must_not"])
    return st.dictionaries(names, st.lists(inner, min_size=1, max_size=3), min_size=1, max_size=3)


FILTERS = clauses(CONDITIONS | clauses(CONDITIONS))
