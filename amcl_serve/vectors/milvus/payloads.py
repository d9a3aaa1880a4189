"""Changes of a payload, as SQLite's JSON functions make them in the embedded store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Payload = dict[str, Any]


def with_members(payload: Payload, members: Mapping[str, Any], key: str | None) -> Payload:
    """The payload with these members; with `key`, in the object there, which takes the place of anything else."""
    if key is None:
        return {**payload, **members}
    first, _, rest = key.partition(".")
    inner = payload.get(first)
    return {**payload, first: with_members(inner if isinstance(inner, dict) else {}, members, rest or None)}


def without(payload: Payload, keys: Sequence[str]) -> Payload:
    """The payload without what stands at these keys."""
    for key in keys:
        payload = _without(payload, key)
    return payload


def _without(payload: Payload, key: str) -> Payload:
    first, _, rest = key.partition(".")
    if not rest:
        return {name: value for name, value in payload.items() if name != first}
    inner = payload.get(first)
    return {**payload, first: _without(inner, rest)} if isinstance(inner, dict) else payload
