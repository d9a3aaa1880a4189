"""The folder of a bundle: it appears complete or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amcl_serve.errors import BundleError
from amcl_serve.model.bundle import CARD_FILE, Bundle, FileEntry, ModelCard, file_entry
from export.errors import UsageError


def check_target(out: Path) -> None:
    """UsageError unless a bundle may be written to `out`: nothing is there, or another bundle."""
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: the folder {out.parent} does not exist")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        Bundle.open(out, verify=False)
    except (BundleError, NotADirectoryError):
        raise UsageError(
            f"--out {out} exists and is no bundle; only a bundle is replaced, choose another folder"
        ) from None


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place at the end, or vanishes when the work fails."""
    folder = out.with_name(f".{out.name}.{os.getpid()}.partial")
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    folder.mkdir()
    try:
        yield folder
        if out.exists():
            out.rename(old)
        folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if old.exists() and not out.exists():
            old.rename(out)
        shutil.rmtree(old, ignore_errors=True)


def entries(folder: Path) -> dict[str, FileEntry]:
    """Size and hash of every file in `folder` but the card."""
    return {path.name: file_entry(path) for path in sorted(folder.iterdir()) if path.name != CARD_FILE}


def write_card(folder: Path, card: ModelCard) -> None:
    """Write or replace the card."""
    (folder / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
