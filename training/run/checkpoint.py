"""Checkpoints: one file a run, replaced atomically, read without unpickling code."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from training import config as configs
from training.config import Config
from training.model.model import AmclModel

FILE = "checkpoint.pt"
_FORMAT = "amcl-checkpoint"
_VERSION = 1


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` so that a crash leaves the old file or the new one, never half of one; OSError."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as stream:
            torch.save({"format": _FORMAT, "version": _VERSION, "config_hash": _hash(state["config"]), **state}, stream)
            stream.flush()
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
