"""Qdrant's payload filters as SQL.

    {"must": [...], "should": [...], "must_not": [...]}     each a list of conditions, or one

    {"key": "a.b", "match": {"value": x}}                   x: string, integer or boolean
    {"key": "a.b", "match": {"any": [...]}}                 one of these strings or integers
    {"key": "a.b", "match": {"except": [...]}}              a value that is none of these
    {"key": "a.b", "range": {"gt", "gte", "lt", "lte"}}     numbers
    {"has_id": [...]}  {"is_empty": {"key": "a"}}  {"is_null": {"key": "a"}}     or a filter again

A key names the members on the way, divided by dots. Where the value is an array, one element that fits is enough.
The SQL consists of the fixed pieces below; every key and value is a parameter.
"""

# ruff: noqa: S608

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from amcl_serve.errors import InvalidRequest
from amcl_serve.vectors.types import Filter
from amcl_serve.vectors.values import id_to_key, parse_point_id

MAX_DEPTH = 8
MAX_CONDITIONS = 128  # SQLite bounds the depth of an expression
MAX_VALUES = 10_000  # of all any, except and has_id of a filter

MAX_INDEXED = 256  # characters of a text in `field_values`

_NO_FIELDS: Mapping[str, int] = {}
_KEY = re.compile(r'[^"\\\[\].\x00-\x1f]{1,128}(?:\.[^"\\\[\].\x00-\x1f]{1,128}){0,15}')
_ELEMENTS = (
    "(json_type(payload, ?) IS NOT 'object' AND EXISTS (SELECT 1 FROM json_each(payload, ?) AS element WHERE {test}))"
)
_NUMBER = "element.type IN ('integer', 'real')"
_IN = "element.value IN (SELECT value FROM json_each(?))"
_COMPARE = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_CLAUSES = ("must", "should", "must_not")


@dataclass(frozen=True)
class Sql:
    """A boolean SQL expression over the columns `key` and `payload` of a point, with its parameters."""

    text: str
    parameters: tuple[Any, ...] = ()
    indexed: bool = False  # whether it is false but for what an index of payloads lists
    listed: str | None = None  # the same as a query of that index alone, if it says all; with the same parameters

    @property
    def of_collection(self) -> str:
        """That a point is in a collection, written so that SQLite goes by the index of payloads if it can."""
        return "+collection = ?" if self.indexed else "collection = ?"

    def rows_of(self, collection: int) -> tuple[str, tuple[Any, ...]]:
        """A query of the numbers of the collection's points for which it is true, maybe more than once, and its
        parameters. What an index says is not asked of the points again, each of which is to be looked up.
        """
        if self.listed is not None:
            return self.listed, self.parameters
        return f"SELECT id FROM points WHERE {self.of_collection} AND {self.text}", (collection, *self.parameters)


def compile_filter(where: Filter | None, fields: Mapping[str, int] = _NO_FIELDS) -> Sql:
    """The filter as SQL, true for every point if there is none; raises InvalidRequest naming the faulty place.

    `fields`: the keys whose values are in the table `field_values`, and what they are called there.
    """
    return Sql("1") if where is None else _Compiler(fields).filter(where, "filter", 0)


class _Compiler:
    """Counts the conditions of one filter while it is compiled."""

    def __init__(self, fields: Mapping[str, int]) -> None:
        self._fields = fields
        self._conditions = self._values = 0

    def filter(self, where: Any, place: str, depth: int) -> Sql:
        if not isinstance(where, Mapping) or not set(where) <= set(_CLAUSES):
            raise InvalidRequest(f"{place}: a filter is an object of {', '.join(_CLAUSES)}")
        if depth > MAX_DEPTH:
            raise InvalidRequest(f"{place}: filters are nested deeper than {MAX_DEPTH} levels")
        parts = []
        for clause in _CLAUSES:
            listed = where.get(clause)
            if listed is None or listed == []:
                continue
            conditions = listed if isinstance(listed, list) else [listed]
            compiled = [self._condition(c, f"{place}.{clause}[{i}]", depth) for i, c in enumerate(conditions)]
            joined = _join(compiled, " AND " if clause == "must" else " OR ")
            parts.append(Sql(f"NOT {joined.text}", joined.parameters) if clause == "must_not" else joined)
        return _join(parts, " AND ") if parts else Sql("1")

    def _condition(self, condition: Any, place: str, depth: int) -> Sql:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise InvalidRequest(f"filter: more than {MAX_CONDITIONS} conditions")
        self._values += _number_of_values(condition)
        if self._values > MAX_VALUES:
            raise InvalidRequest(f"{place}: the lists of a filter hold at most {MAX_VALUES} values in all")
        if isinstance(condition, Mapping):
            if condition and set(condition) <= set(_CLAUSES):
                return self.filter(condition, place, depth + 1)
            for members, compile_condition in _CONDITIONS.items():
                if set(condition) == set(members):
                    return compile_condition(condition, place, self._fields)
        raise InvalidRequest(
            f"{place}: a condition is {{key, match}}, {{key, range}}, {{has_id}}, {{is_empty}}, {{is_null}} or a filter"
        )


def _join(parts: list[Sql], operator: str) -> Sql:
    text = operator.join(part.text for part in parts)
    of_some, of_all = any(part.indexed for part in parts), all(part.indexed for part in parts)
    indexed = of_some if operator == " AND " else of_all
    lists = [part.listed for part in parts if part.listed is not None]
    both = " INTERSECT " if operator == " AND " else " UNION "
    listed = both.join(f"SELECT * FROM ({each})" for each in lists) if len(lists) == len(parts) else None
    return Sql(f"({text})", tuple(p for part in parts for p in part.parameters), indexed, listed)


def _match(condition: Mapping[str, Any], place: str, fields: Mapping[str, int]) -> Sql:
    path = json_path(condition["key"], place)
    field = fields.get(condition["key"])
    match = condition["match"]
    if not isinstance(match, Mapping) or len(match) != 1 or not set(match) <= {"value", "any", "except"}:
        raise InvalidRequest(f"{place}.match: an object with one of value, any, except")
    ((kind, wanted),) = match.items()
    if kind == "value" and isinstance(wanted, bool):
        test, values = f"element.type = '{'true' if wanted else 'false'}'", []
    elif kind == "value":
        test, values = f"{_type_of([wanted], place)} AND element.value = ?", [_scalar(wanted, place)]
    else:
        _check_list(wanted, f"{place}.match.{kind}")
        test = f"{_type_of(wanted, place)} AND {_IN}"
        values = [orjson.dumps([_scalar(value, place) for value in wanted]).decode()]
        if kind == "except":
            test = f"element.type != 'null' AND NOT ({test})"
    listed = wanted if isinstance(wanted, list) else [wanted]
    if field is None or kind == "except" or any(isinstance(v, str) and len(v) > MAX_INDEXED for v in listed):
        return Sql(_ELEMENTS.format(test=test), (path, path, *values))
    if isinstance(wanted, bool):
        return _listed("kind = 'boolean' AND value = ?", field, [wanted])
    texts = bool(listed) and isinstance(listed[0], str)
    test = "kind = 'text'" if texts else "kind = 'number' AND typeof(value) = 'integer'"
    return _listed(
        f"{test} AND value {'= ?' if kind == 'value' else 'IN (SELECT value FROM json_each(?))'}", field, values
    )


def _range(condition: Mapping[str, Any], place: str, fields: Mapping[str, int]) -> Sql:
    path = json_path(condition["key"], place)
    bounds = condition["range"]
    if not isinstance(bounds, Mapping) or not bounds or not set(bounds) <= set(_COMPARE):
        raise InvalidRequest(f"{place}.range: an object of gt, gte, lt, lte")
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    for name, bound in given.items():
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not abs(bound) <= sys.float_info.max:
            raise InvalidRequest(f"{place}.range.{name}: a finite number")
    numbers = list(map(_number, given.values()))
    if condition["key"] in fields:
        tests = ["kind = 'number'", *(f"value {_COMPARE[name]} ?" for name in given)]
        return _listed(" AND ".join(tests), fields[condition["key"]], numbers)
    tests = [_NUMBER, *(f"element.value {_COMPARE[name]} ?" for name in given)]
    return Sql(_ELEMENTS.format(test=" AND ".join(tests)), (path, path, *numbers))


def _listed(test: str, field: int, parameters: list[Any]) -> Sql:
    listed = f"SELECT point FROM field_values WHERE field = ? AND {test}"
    return Sql(f"id IN ({listed})", (field, *parameters), indexed=True, listed=listed)


def _has_id(condition: Mapping[str, Any], place: str, _: Mapping[str, int]) -> Sql:
    ids = condition["has_id"]
    _check_list(ids, f"{place}.has_id")
    keys = [id_to_key(parse_point_id(value)) for value in ids]
    return Sql("key IN (SELECT value FROM json_each(?))", (orjson.dumps(keys).decode(),))


def _is_empty(condition: Mapping[str, Any], place: str, _: Mapping[str, int]) -> Sql:
    path = _member_path(condition["is_empty"], f"{place}.is_empty")
    return Sql("(coalesce(json_type(payload, ?), 'null') = 'null' OR json_array_length(payload, ?) = 0"
               " AND json_type(payload, ?) = 'array')", (path, path, path))  # fmt: skip


def _is_null(condition: Mapping[str, Any], place: str, _: Mapping[str, int]) -> Sql:
    return Sql("json_type(payload, ?) IS 'null'", (_member_path(condition["is_null"], f"{place}.is_null"),))


_CONDITIONS: dict[tuple[str, ...], Callable[[Mapping[str, Any], str, Mapping[str, int]], Sql]] = {
    ("key", "match"): _match,
    ("key", "range"): _range,
    ("has_id",): _has_id,
    ("is_empty",): _is_empty,
    ("is_null",): _is_null,
}


def _member_path(member: Any, place: str) -> str:
    if not isinstance(member, Mapping) or set(member) != {"key"}:
        raise InvalidRequest(f"{place}: an object with a key")
    return json_path(member["key"], place)


def json_path(key: Any, place: str) -> str:
    """SQLite's JSON path of a dotted key; every member is quoted, and no key holds a quote."""
    if not isinstance(key, str) or not _KEY.fullmatch(key) or not _is_unicode(key):
        raise InvalidRequest(
            f"{place}: a key is up to 16 member names divided by dots, each of 1 to 128 characters without "
            "quotation marks, backslashes, brackets and control characters"
        )
    return "$" + "".join(f'."{member}"' for member in key.split("."))


def _check_list(values: Any, place: str) -> None:
    if not isinstance(values, list):
        raise InvalidRequest(f"{place}: a list of values, at most {MAX_VALUES} in a filter")


def _number_of_values(condition: Any) -> int:
    """Of the lists in a condition itself."""
    if not isinstance(condition, Mapping):
        return 0
    match = condition.get("match")
    lists = [condition.get("has_id"), *(match.values() if isinstance(match, Mapping) else ())]
    return sum(len(values) for values in lists if isinstance(values, list))


def _type_of(values: list[Any], place: str) -> str:
    if all(isinstance(value, str) for value in values):
        return "element.type = 'text'"
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return "element.type = 'integer'"
    raise InvalidRequest(
        f"{place}.match: a string, an integer or a boolean, or a list of strings or of integers; "
        "compare other numbers by range"
    )


def _scalar(value: str | int, place: str) -> str | int:
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise InvalidRequest(f"{place}.match: an integer of 64 bits with sign")
    if isinstance(value, str) and ("\0" in value or not _is_unicode(value)):
        raise InvalidRequest(f"{place}.match: a string of valid Unicode without NUL characters")
    return value


def _number(value: float) -> float:
    return value if isinstance(value, float) or -(1 << 63) <= value < 1 << 63 else float(value)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
