"""The images of stored points: the files that `amcl-serve index` recorded, or their thumbnails."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import Any

from amcl_serve.client import Client
from amcl_serve.errors import NotFound

STORED_THUMBNAIL = "thumbnail"


class Unobtainable(Exception):
    """Why there is no image of a point."""


class Images:
    """Those of a collection's points; `thumbnails` are taken where there is no file."""

    def __init__(self, client: Client, collection: str, *, thumbnails: bool) -> None:
        self._client = client
        self._collection = collection
        self._thumbnails = thumbnails
        self.from_thumbnails = 0

    def read(self, point: dict[str, Any]) -> bytes:
        """The bytes of an image; Unobtainable says why there are none."""
        try:
            return recorded(point["payload"])
        except Unobtainable as error:
            if not self._thumbnails:
                raise
            reason = str(error)
        try:
            data = self._client.thumbnail(self._collection, point["id"])
        except NotFound:
            raise Unobtainable(f"{reason}, and it has no thumbnail") from None
        self.from_thumbnails += 1
        return data


def recorded(payload: dict[str, Any]) -> bytes:
    """The file that a payload records, whose content is that which was embedded; else Unobtainable.

    A payload may be anybody's: what is read must have the recorded hash, so nothing leaves this machine that its
    writer did not have.
    """
    folder, path, sha256 = (payload.get(name) for name in ("folder", "path", "sha256"))
    if not isinstance(folder, str) or not isinstance(path, str) or not isinstance(sha256, str):
        raise Unobtainable("no file is recorded of it, as `amcl-serve index` does")
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise Unobtainable("its recorded path leads out of its folder")
    file = Path(folder, path)
    try:
        if not file.is_file():
            raise Unobtainable(f"{file} is gone")
        data = file.read_bytes()
    except (OSError, ValueError) as error:  # the second for a null byte
        raise Unobtainable(f"{file} cannot be read: {getattr(error, 'strerror', error)}") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Unobtainable(f"{file} has changed since it was indexed")
    return data
