"""The images of a collection as a dataset: the files that `amcl-serve index` recorded, or thumbnails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from amcl_serve.client import Client
from amcl_serve.commands.reindexing.images import Images, Unobtainable
from amcl_serve.errors import StartupError, UnreadableFile
from amcl_serve.evaluation.dataset import Pairs

_PAGE = 1000  # points asked for at a time
_KEPT = ("path", "folder", "sha256")  # of payloads: what is read again


class CollectionImages:
    """`Dataset` of a collection's points. With a `field`, points are labelled by it, and those without it left out."""

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
