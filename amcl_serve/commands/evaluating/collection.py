"""The images of a collection as a dataset: the files that `amcl-serve index` recorded, or thumbnails, or vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from amcl_serve.client import Client
from amcl_serve.commands.reindexing.images import Images, Unobtainable
from amcl_serve.errors import StartupError, UnreadableFile
from amcl_serve.evaluation.dataset import Pairs
from amcl_serve.evaluation.embedder import About
from amcl_serve.vectors.types import IndexChoice

_PAGE = 1000  # points asked for at a time
_KEPT = ("path", "folder", "sha256")  # of payloads: what is read again


class CollectionImages:
    """`Dataset` of a collection's points. With a `field`, points are labelled by it, and those without it left out.

    Where it keeps no thumbnails and none of the files is here, it is `Stored`: its vectors are looked at.
    """

    pairs: Pairs | None = None

    def __init__(self, client: Client, name: str, field: str | None, progress: Callable[[int], None]) -> None:
        self.name = name
        self.left_out = 0
        self._points: list[dict[str, Any]] = []
        labels: list[str] = []
        offset: Any = None
        while True:
            page = client.scroll(name, limit=_PAGE, offset=offset, with_payload=True)
            for point in page["points"]:
                payload = point["payload"]
                if field is not None:
                    label = payload.get(field)
                    if not isinstance(label, str | int | bool):
                        self.left_out += 1
                        continue
                    labels.append(str(label))
                kept = {key: payload[key] for key in _KEPT if key in payload}
                self._points.append({"id": point["id"], "payload": kept})
            progress(len(self._points) + self.left_out)
            offset = page["next_page_offset"]
            if offset is None:
                break
        if not self._points:
            raise StartupError(
                f"no point of the collection {name} has a text or an integer at {field!r}"
                if self.left_out
                else f"the collection {name} holds no points"
            )
        self.names: Sequence[str] = [str(point["payload"].get("path", point["id"])) for point in self._points]
        self.labels: Sequence[str] | None = labels if field is not None else None
        self._images = Images(client, name, thumbnails=True)
        info = client.collection(name)
        self.index = IndexChoice(info["index"]["kind"], info["index"]["precision"])
        if not info["thumbnails"] and not any(_is_here(point["payload"]) for point in self._points):
            self.about = _about(info["model"])
            self.vectors = partial(self._vectors, client, info["config"]["params"]["vectors"]["size"])

    @property
    def from_thumbnails(self) -> int:
        """Images that were read as thumbnails, because their files are not here."""
        return self._images.from_thumbnails

    def read(self, index: int) -> bytes:
        """As `Dataset`."""
        try:
            return self._images.read(self._points[index])
        except Unobtainable as error:
            raise UnreadableFile(str(error)) from None

    def _vectors(self, client: Client, size: int) -> npt.NDArray[np.float32]:
        """Of all points, in their order; NaN of those that are gone."""
        place = {point["id"]: number for number, point in enumerate(self._points)}
        found = np.full((len(place), size), np.nan, np.float32)
        offset: Any = None
        while True:
            page = client.scroll(self.name, limit=_PAGE, offset=offset, with_payload=False, with_vector=True)
            for point in page["points"]:
                if point["id"] in place:
                    found[place[point["id"]]] = point["vector"]
            offset = page["next_page_offset"]
            if offset is None:
                return found


def _is_here(payload: dict[str, Any]) -> bool:
    folder, path = payload.get("folder"), payload.get("path")
    return (
        isinstance(folder, str) and isinstance(path, str) and "\0" not in folder + path and Path(folder, path).is_file()
    )


def _about(model: dict[str, Any] | None) -> About:
    name, digest = ("vectors of an unknown model", "") if model is None else (model["name"], model["digest"])
    return About(name, digest, "float32, as stored", "none", 0, "unknown: pictures are not stored", "stored vectors")
