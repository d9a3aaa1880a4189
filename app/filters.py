"""Filters as people type them: `subject=cat, brightness>=0.4`, or the API's own JSON."""

from __future__ import annotations

import json
import re
from typing import Any

_CONDITION = re.compile(r"^\s*([^=<>!]+?)\s*(!=|>=|<=|=|>|<)\s*(.*?)\s*$", re.DOTALL)
_RANGE = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
SHOULD = "a filter is field=value, with commas between several, or JSON such as "


def read(text: str) -> dict[str, Any] | None:
    """The API's filter for what was typed, None for nothing; ValueError says what is wrong and what would be right.

    Values are JSON where they can be (4, true), else text; "4" in quotation marks is text.
    """
    if not text.strip():
        return None
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
        except ValueError as error:
            raise ValueError(f'Filter: this is no JSON ({error}); {SHOULD}{{"must": […]}}') from None
        return dict(found)
    must: list[dict[str, Any]] = []
    must_not: list[dict[str, Any]] = []
    for part in filter(str.strip, text.split(",")):
        condition = _CONDITION.match(part)
        if condition is None:
            raise ValueError(f"Filter: {part.strip()!r} has no comparison; {SHOULD}{{…}}")
        key, sign, raw = condition.groups()
        value = _value(raw)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if sign in _RANGE:
            if not number:
                raise ValueError(f"Filter: {key} {sign} takes a number, not {raw!r}")
            must.append({"key": key, "range": {_RANGE[sign]: value}})
        else:
            equal = {"range": {"gte": value, "lte": value}} if isinstance(value, float) else {"match": {"value": value}}
            (must if sign == "=" else must_not).append({"key": key, **equal})
    return {name: found for name, found in (("must", must), ("must_not", must_not)) if found}


def _value(raw: str) -> str | int | float | bool:
    try:
        found = json.loads(raw)
    except ValueError:
        return raw
    return found if isinstance(found, str | int | float | bool) else raw
