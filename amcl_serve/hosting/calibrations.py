"""Calibrations of a model's pair score to somebody's own pairs: kept in the data folder, not in the bundle.

    calibrations/SHA256.json     by the digest of the bundle whose scores they are of

So a model that is replaced leaves its own behind, and finds it again when it comes back.
"""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from amcl_serve.hosting.files import full_disk_said, write_whole
from amcl_serve.model.bundle import Calibration, Precision, Share

log = logging.getLogger("amcl_serve")

FOLDER = "calibrations"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Quality(_Part):
    """What probabilities were worth on the pairs that fitted nothing."""

    expected_calibration_error: Share
    brier: Share
    accuracy: Share = Field(description="of the verdict `same`")


class OwnCalibration(_Part):
    """A calibration with where it came from."""

    calibration: Calibration
    model: str
    digest: str = Field(description="of the bundle")
    precision: Precision = Field(description="of the encoder that scored the pairs")
    created: str = Field(description="UTC, ISO 8601")
    dataset: str = Field(description="the uploaded file's name")
    data_digest: str = Field(description="of the uploaded file")
    seed: int
    fitted: int = Field(description="pairs that it was fitted to, half of those there are")
    held_out: int = Field(description="the other half, which `before` and `after` are of")
    before: Quality | None = Field(description="by the calibration that was in force; null where there was none")
    after: Quality


def kept(data_dir: Path, digest: str) -> OwnCalibration | None:
    """That of a bundle, if there is one; one that cannot be read is told in the log and passed over."""
    path = _path(data_dir, digest)
    try:
        found = OwnCalibration.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        log.warning("the kept calibration %s cannot be read; the bundle's own is used", path.name)
        return None
    return found if found.digest == digest else None


def keep(data_dir: Path, own: OwnCalibration) -> None:
    """Keep it in place of what was kept of its bundle. StorageFull where the disk has no room."""
    path = _path(data_dir, own.digest)
    with full_disk_said():
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, own.model_dump_json(indent=1).encode())


def forget(data_dir: Path, digest: str) -> bool:
    """Remove what is kept of a bundle; whether there was anything."""
    try:
        _path(data_dir, digest).unlink()
    except FileNotFoundError:
        return False
    return True


def _path(data_dir: Path, digest: str) -> Path:
    return data_dir / FOLDER / f"{digest.removeprefix('sha256:')}.json"
