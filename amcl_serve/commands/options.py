"""Settings as command-line flags, generated from the model, so that none can be missing or say something else."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from amcl_serve.settings import Settings

MODEL = ("model", "precision", "provider", "session_threads", "decode_threads", "max_batch", "max_pixels")


def add_settings(parser: argparse.ArgumentParser, names: Iterable[str] | None = None) -> None:
    """Add a flag for each of the settings in `names`, by default for all that are no secrets."""
    group = parser.add_argument_group(
        "settings", "each is also an environment variable, AMCL_ and the name in capitals"
    )
    for name in Settings.model_fields if names is None else names:
        field = Settings.model_fields[name]
        if is_secret(field):
            continue
        group.add_argument(
            "--" + name.replace("_", "-"),
            dest=name,
            default=argparse.SUPPRESS,
            metavar=_metavar(field),
            help=f"{field.description} (default: {field.get_default(call_default_factory=True)})".replace("%", "%%"),
        )


def settings_from(args: argparse.Namespace) -> Settings:
    """The settings that flags, environment and defaults give; pydantic's ValidationError where a value is wrong."""
    given: dict[str, Any] = {name: value for name, value in vars(args).items() if name in Settings.model_fields}
    return Settings(**given)


def is_secret(field: FieldInfo) -> bool:
    """Whether the setting comes from the environment alone, because a command line is no place for it."""
    return SecretStr in get_args(field.annotation)


def _metavar(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return "{" + ",".join(str(choice) for choice in get_args(field.annotation)) + "}"
    names: dict[Any, str] = {int: "N", float: "SECONDS", str: "NAME", bool: "{true,false}"}
    return names.get(field.annotation, "PATH")
