"""The keys of a configuration, such as `train.epochs`: those it has, setting them, saying them. Others are errors."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from training.config import values
from training.config.methods import CONFIGS, Config

C = TypeVar("C", bound=Config)


def override(config: C, assignments: Sequence[str]) -> C:
    """Apply KEY=VALUE strings such as `train.epochs=10`. ValueError names the key, what was given and what is right."""
    pairs = []
    for text in assignments:
        key, sign, value = text.partition("=")
        if not sign:
            raise ValueError(f"{text!r} is not KEY=VALUE, such as train.epochs=10")
        pairs.append((key.strip(), value.strip()))
    return assign(config, pairs)


def assign(config: C, pairs: Iterable[tuple[str, Any]]) -> C:
    """The config with other values, text or what JSON makes of it. ValueError for an unknown key or an unfit value."""
    known = {f"{section}.{item.name}": (section, item) for section, item in _fields(config)}
    for key, value in pairs:
        if key not in known:
            raise ValueError(_unknown(config, key, list(known)))
        section, item = known[key]
        old = getattr(config, section)
        kind = typing.get_type_hints(type(old))[item.name]
        new = dataclasses.replace(old, **{item.name: values.parse(key, value, kind, item.metadata)})
        config = dataclasses.replace(config, **{section: new})
    return config


def flatten(config: Config) -> dict[str, Any]:
    """`{"train.epochs": 200, …}` of every key."""
    return {f"{section}.{item.name}": getattr(getattr(config, section), item.name) for section, item in _fields(config)}


def describe(config: Config) -> Iterator[tuple[str, str, str]]:
    """(key, value in this config, help) of every key, in order."""
    for section, item in _fields(config):
        value = getattr(getattr(config, section), item.name)
        yield f"{section}.{item.name}", values.show(value, item.metadata), item.metadata["help"]


def _fields(config: Config) -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    for section in dataclasses.fields(config):
        for item in dataclasses.fields(getattr(config, section.name)):
            yield section.name, item


def _unknown(config: Config, key: str, known: Sequence[str]) -> str:
    """A sentence that names what there is."""
    others = [name for name, cls in CONFIGS.items() if key in flatten(cls())]
    if others:
        why = f": {config.recipe} hides patches from a ViT of its own" if key == "backbone.name" else ""
        return f"{key} is a key of {', '.join(others)}, not of {config.recipe}; leave it out{why}"
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.8)
    if near:
        return f"unknown key {key!r}; did you mean {near[0]}?"
    section = key.partition(".")[0]
    siblings = [name for name in known if name.startswith(f"{section}.")]
    if siblings:
        return f"unknown key {key!r}; {config.recipe} has {', '.join(siblings)}"
    sections = dict.fromkeys(name.partition(".")[0] for name in known)
    return f"unknown key {key!r}; the keys of {config.recipe} begin with {'., '.join(sections)}.; --help lists them"
