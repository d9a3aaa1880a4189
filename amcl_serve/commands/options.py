"""Settings as command-line flags, generated from the model, so that none can be missing or say something else."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from amcl_serve.settings import Settings

MODEL = (
    "model", "model_dir", "precision", "provider", "provider_options", "require_provider",
    "session_threads", "decode_threads", "max_batch", "max_pixels", "accept_truncated",
)  # fmt: skip


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
            action="append" if get_origin(field.annotation) is tuple else "store",
            default=argparse.SUPPRESS,
            metavar=_metavar(field.annotation),
            help=f"{field.description} (default: {default_text(field)})".replace("%", "%%"),
        )


def settings_from(args: argparse.Namespace) -> Settings:
    """The settings that flags, environment and defaults give; pydantic's ValidationError where a value is wrong."""
    given: dict[str, Any] = {name: value for name, value in vars(args).items() if name in Settings.model_fields}
    return Settings(**given)


def default_text(field: FieldInfo) -> str:
    """A setting's default as the help and the documentation show it."""
    default = field.get_default(call_default_factory=True)
    if default in (None, ""):
        return "none"
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


def is_secret(field: FieldInfo) -> bool:
    """Whether the setting comes from the environment alone, because a command line is no place for it."""
    return SecretStr in get_args(field.annotation)


def _metavar(annotation: object) -> str:
    if get_origin(annotation) is Literal:
        return "{" + ",".join(str(choice) for choice in get_args(annotation)) + "}"
    kinds = [annotation, *get_args(annotation)]  # of `X | None` and `tuple[X, ...]` too
    kind = next(kind for kind in kinds if isinstance(kind, type) and get_origin(kind) is None and kind is not NoneType)
    return {bool: "{true,false}", int: "N", float: "SECONDS", str: "NAME"}.get(kind, "PATH")
