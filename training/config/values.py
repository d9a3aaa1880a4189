"""One value of a configuration: from text or JSON, checked against its kind and limits, and back to text."""

from __future__ import annotations

import operator
import typing
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal


def show(value: Any, limits: Mapping[str, Any] = MappingProxyType({})) -> str:
    """A value as `parse` reads it."""
    if "auto" in limits and value == limits["auto"]:
        return "auto"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse(key: str, value: Any, kind: Any, limits: Mapping[str, Any]) -> Any:
    """`value`, text or what JSON makes of it, as `kind`, within `limits`: above, min, max, of text choices.

    `limits["auto"]` is what the word `auto` stands for, a number that is none of those allowed. ValueError names `key`.
    """
    if "auto" in limits and value in ("auto", limits["auto"]):
        return limits["auto"]
    origin = typing.get_origin(kind)
    if origin is Literal:
        choices = typing.get_args(kind)
        if value not in choices:
            raise ValueError(f"{key}={value!r} is none of {', '.join(choices)}")
        return value
    if origin is tuple:
        parts = value.split(",") if isinstance(value, str) else list(value)
        if len(parts) != len(typing.get_args(kind)):
            raise ValueError(f"{key} takes {len(typing.get_args(kind))} numbers joined by commas, not {value!r}")
        return tuple(parse(key, part, float, limits) for part in parts)
    if kind is bool:
        words = {"true": True, "1": True, "false": False, "0": False}
        if str(value).lower() not in words:
            raise ValueError(f"{key}={value!r} is neither true nor false")
        return words[str(value).lower()]
    if kind is str:
        choices, prefixes = limits.get("choices", ()), limits.get("prefixes", ())
        if choices and value not in choices and not str(value).startswith(prefixes):
            raise ValueError(f"{key}={value!r} is none of {', '.join([*choices, *(f'{p}NAME' for p in prefixes)])}")
        return str(value)
    assert kind in (int, float)
    noun = ("a whole number" if kind is int else "a number") + (" or auto" if "auto" in limits else "")
    try:
        number = kind(value)
    except (TypeError, ValueError):
        raise ValueError(f"{key}={value!r} is not {noun}") from None
    if number != number or abs(number) == float("inf"):
        raise ValueError(f"{key}={value!r} is not finite")
    rules = {"above": ("above", operator.gt), "min": ("at least", operator.ge), "max": ("at most", operator.le)}
    checked = [(words, limits[rule], holds) for rule, (words, holds) in rules.items() if rule in limits]
    broken = [f"{words} {bound}" for words, bound, holds in checked if not holds(number, bound)]
    if broken:
        raise ValueError(f"{key}={value!r} must be {' and '.join(broken)}")
    return number
