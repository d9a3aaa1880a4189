"""Filters as functions of a point, for points that do not lie in SQLite; what they mean is said in filters.py."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from amcl_serve.vectors.filters import compile_filter
from amcl_serve.vectors.types import Filter
from amcl_serve.vectors.values import id_to_key, parse_point_id

Predicate = Callable[[str, Mapping[str, Any]], bool]  # of a point's key (see values.id_to_key) and its payload

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_MISSING = object()


def predicate(where: Filter | None) -> Predicate:
    """Whether a point fits the filter, as `compile_filter` has it; its InvalidRequest of a faulty filter."""
    compile_filter(where)
    return _filter(where or {})


def value_at(payload: Mapping[str, Any], key: str) -> list[Any]:
    """What a filter sees at a dotted key: an array's elements, one value, or nothing of an object."""
    value = _resolve(payload, key)
    if isinstance(value, list):
        return value
    return [] if value is _MISSING or isinstance(value, Mapping) else [value]


def is_number(value: object) -> bool:
    """Whether JSON calls it a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def conditions(where: Filter, clause: str) -> list[Mapping[str, Any]]:
    """Those of a clause of a filter, which may be one or none."""
    listed = where.get(clause)
    if listed is None:
        return []
    return listed if isinstance(listed, list) else [listed]


def _filter(where: Filter) -> Predicate:
    must, should, must_not = (
        [_condition(c) for c in conditions(where, name)] for name in ("must", "should", "must_not")
    )

    def fits(key: str, payload: Mapping[str, Any]) -> bool:
        return (
            all(each(key, payload) for each in must)
            and (not should or any(each(key, payload) for each in should))
            and not any(each(key, payload) for each in must_not)
        )

    return fits


def _condition(condition: Mapping[str, Any]) -> Predicate:
    if "has_id" in condition:
        keys = {id_to_key(parse_point_id(value)) for value in condition["has_id"]}
        return lambda key, _: key in keys
    if "is_empty" in condition:
        at = condition["is_empty"]["key"]
        return lambda _, payload: (value := _resolve(payload, at)) is _MISSING or value is None or value == []
    if "is_null" in condition:
        at = condition["is_null"]["key"]
        return lambda _, payload: _resolve(payload, at) is None
    if "key" not in condition:
        return _filter(condition)
    at = condition["key"]
    test = _range(condition["range"]) if "range" in condition else _match(condition["match"])
    return lambda _, payload: any(test(element) for element in value_at(payload, at))


def _range(bounds: Mapping[str, float | None]) -> Callable[[Any], bool]:
    tests = [(_COMPARE[name], bound) for name, bound in bounds.items() if bound is not None]
    return lambda value: is_number(value) and all(compare(value, bound) for compare, bound in tests)


def _match(match: Mapping[str, Any]) -> Callable[[Any], bool]:
    ((kind, wanted),) = match.items()
    # The type belongs to it: to Python, True == 1 == 1.0. Only these types can be wanted.
    values = {(type(value), value) for value in (wanted if isinstance(wanted, list) else [wanted])}

    def among(value: Any) -> bool:
        return isinstance(value, str | int) and (type(value), value) in values

    return among if kind != "except" else lambda value: value is not None and not among(value)


def _resolve(payload: Mapping[str, Any], key: str) -> Any:
    value: Any = payload
    for member in key.split("."):
        if not isinstance(value, Mapping) or member not in value:
            return _MISSING
        value = value[member]
    return value
