"""A configuration as JSON: in a run's `config.json`, in its checkpoint, on the card of an exported model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.config.keys import assign
from training.config.methods import CONFIGS, Config
from training.config.migrate import complete, lift

FILE = "config.json"
SCHEMA = 2  # 1, which has no `schema`: one form for all methods, see `migrate`


def to_dict(config: Config) -> dict[str, Any]:
    """The config as nested JSON-able dictionaries; tuples become lists."""
    raw: dict[str, Any] = {"schema": SCHEMA, "recipe": config.recipe}
    for section, table in dataclasses.asdict(config).items():
        raw[section] = {key: list(value) if isinstance(value, tuple) else value for key, value in table.items()}
    return raw


def from_dict(raw: Mapping[str, Any]) -> Config:
    """The inverse of `to_dict`, also of what earlier versions wrote; a key that is missing has what it stood for.

    ValueError for an unknown recipe, schema or key and for an unfit value.
    """
    recipe, schema = raw.get("recipe"), raw.get("schema", 1)
    if recipe not in CONFIGS:
        raise ValueError(f"config: unknown recipe {recipe!r}; the recipes are {', '.join(CONFIGS)}")
    if schema not in (1, SCHEMA):
        raise ValueError(f"config: schema {schema!r}; this program reads 1 and {SCHEMA}")
    pairs = []
    for section, table in raw.items():
        if section in ("recipe", "schema"):
            continue
        if not isinstance(table, Mapping):
            raise ValueError(f"config: {section} must be a table of keys")
        pairs += [(f"{section}.{key}", value) for key, value in table.items()]
    return assign(CONFIGS[recipe](), complete(lift(recipe, pairs) if schema == 1 else pairs))


def write(config: Config, folder: Path) -> None:
    """Into the run's folder; OSError."""
    (folder / FILE).write_text(json.dumps(to_dict(config), indent=2) + "\n")


def read(folder: Path) -> Config:
    """Of the run in the folder; OSError or ValueError."""
    return from_dict(json.loads((folder / FILE).read_text()))
