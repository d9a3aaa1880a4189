"""Checkpoints: the state of a run, replaced atomically and read without unpickling code; older ones beside it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from training import config as configs
from training.config import Config
from training.model.model import AmclModel

FILE = "checkpoint.pt"
_OLDER = re.compile(r"checkpoint-(\d+)\.pt")  # by its step
_FORMAT = "amcl-checkpoint"
_VERSION = 1


def save(path: Path, state: dict[str, Any], *, keep: int = 1) -> None:
    """Write `state` so that a crash leaves the old file or the new one, never half of one; OSError.

    The last `keep` states are kept: this one, and older ones as checkpoint-STEP.pt beside it. Those of later steps,
    which a run that went on from an older one has left, are not.
    """
    whole = {"format": _FORMAT, "version": _VERSION, "config_hash": _hash(state["config"]), **state}
    now = state.get("step", 0)
    with replaced(path) as temporary:
        torch.save(whole, temporary)
        if keep > 1 and (step := _step(path)) is not None and step < now:
            _link(path, path.with_name(f"checkpoint-{step}.pt"))
    older = {int(match[1]): file for file in path.parent.iterdir() if (match := _OLDER.fullmatch(file.name))}
    kept = sorted(step for step in older if step < now)[::-1][: keep - 1]
    for step in older.keys() - set(kept):
        older[step].unlink(missing_ok=True)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A file to write, which takes the place of `path` at the end: a crash leaves the old one or all of it; OSError."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except RuntimeError as error:  # torch's writer says where in its source it failed, not why
        full = shutil.disk_usage(path.parent).free < 1 << 20
        raise OSError(errno.EIO, "the disk is full" if full else f"PyTorch could not write it ({error})") from None
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself
    finally:
        os.close(folder)


def _link(path: Path, other: Path) -> None:
    """Give a file a second name, in one step; where the file system has no links, a copy."""
    with replaced(other) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)


def _step(path: Path) -> int | None:
    """The step of a checkpoint, without reading its tensors; None where there is none to be read."""
    found = _peek(path).get("step")
    return found if isinstance(found, int) else None


def is_one(path: Path) -> bool:
    """Whether the file is a checkpoint of this program, whole or not."""
    return _peek(path).get("format") == _FORMAT


def _peek(path: Path) -> dict[str, Any]:
    with suppress(Exception):  # torch raises many kinds for a file that is none of its own
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return state if isinstance(state, dict) else {}
    return {}


def load(path: Path) -> dict[str, Any]:
    """The state that `save` wrote, on the CPU. `path` is the file or its run folder; ValueError when it holds none."""
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"no checkpoint at {file}; give a run folder or its {FILE}")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # torch raises many kinds for a file that is none of its own
        raise ValueError(f"{file} is not a checkpoint of this program, or is damaged") from None
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise ValueError(f"{file} is not a checkpoint of this program")
    if state.get("version") != _VERSION:
        raise ValueError(f"{file} has checkpoint version {state.get('version')}; this program reads {_VERSION}")
    if state.get("config_hash", _hash(state["config"])) != _hash(state["config"]):
        raise ValueError(
            f"{file} holds another configuration than it was written with; it has been changed or is damaged"
        )
    return state


def _hash(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def load_model(path: Path) -> tuple[AmclModel, Config]:
    """The network in eval mode and its config, from a run folder or a checkpoint file; ValueError without one."""
    state = load(path)
    config = configs.from_dict(state["config"])
    model = AmclModel(config)
    prefix = "model."
    weights = {k.removeprefix(prefix): v for k, v in state["method"].items() if k.startswith(prefix)}
    model.load_state_dict(weights)
    return model.eval(), config
