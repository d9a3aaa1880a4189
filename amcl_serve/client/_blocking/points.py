"""The methods of the points of collections; names and defaults are the server's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal
from urllib.parse import quote

import orjson

from amcl_serve.client import points as writing
from amcl_serve.client._blocking.sending import Sender
from amcl_serve.client.calls import Call, Groups, checked, checked_group, named, read, result
from amcl_serve.client.images import Image
from amcl_serve.client.shapes import Filter, Found, Page, Point, PointId, Vector
from amcl_serve.client.waiting import call


class Points(Sender):
    """Points of collections: written, searched, paged through, deleted."""

    def upsert(self, name: str, points: Iterable[Point], *, model: str | None = None) -> int:
        """Write points, in as many requests as it takes, and return their number; each request is durable, all or none.

        Points with vectors and points with images may be mixed. All are checked before the first request: what is
        wrong on this side (ids, payloads, vectors, files that cannot be opened, damaged PIL images) raises
        ValueError, TypeError or OSError, and nothing was sent. For that an iterator is taken in whole; images that
        are paths are read when their turn comes. Of points with the same id the last one stays. What the server
        refuses is raised with `items`, whose `index` is that of `points`.

        `model` embeds the first image of a collection, which is tied to it from then on.
        """
        points = list(points)
        call(writing.check_all, points)
        form = all(point.image is not None for point in points)
        target, params, written = writing.path(name, "/points"), named(model), 0
        groups = Groups[writing.Ready](self.limits)
        for point in points:
            image = None if point.image is None else self._content(point.image)
            ready = writing.Ready(writing.members(point), image)
            group = groups.add(ready, ready.bytes(form=form))
            if group:
                self._write(target, group, params, written)
                written += len(group)
        group = groups.rest()
        if group:
            self._write(target, group, params, written)
        return len(points)

    def query(
        self,
        name: str,
        *,
        image: Image | None = None,
        vector: Vector | None = None,
        id: PointId | None = None,  # noqa: A002
        limit: int = 10,
        offset: int = 0,
        score_threshold: float | None = None,
        filter: Filter | None = None,  # noqa: A002
        with_payload: bool = False,
        with_vector: bool = False,
        exact: bool = False,
        rerank: Literal["pairs"] | None = None,
        candidates: int | None = None,
    ) -> list[Found]:
        """The points nearest to an image, a vector or a stored point, best first; ValueError unless it is one.

        `exact` looks at every vector. `rerank` orders the best `candidates` by the score of their pairs with the image,
        which is then `score`, with `vector_score` beside it; the collection must keep heads.
        """
        if sum(target is not None for target in (image, vector, id)) != 1:
            raise ValueError("a query is by one of image, vector and id")
        options: dict[str, Any] = {
            "limit": limit,
            "offset": offset,
            "score_threshold": score_threshold,
            "filter": filter,
            "with_payload": with_payload,
            "with_vector": with_vector,
            "params": {"exact": True} if exact else None,
            "rerank": rerank,
            "candidates": candidates,
        }
        options = {key: value for key, value in options.items() if value is not None}
        path = writing.path(name, "/points/query")
        if image is not None:
            fields = {
                key: value if isinstance(value, str) else orjson.dumps(value).decode() for key, value in options.items()
            }
            call = Call("POST", path, files=[("file", ("image", self._content(image)))], data=fields)
        else:
            call = Call.json("POST", path, {"query": id if vector is None else writing.floats(vector), **options})
        response = self._send(call)
        found = result(response)
        return read(response, lambda: list(found["points"]))

    def delete(
        self,
        name: str,
        ids: Sequence[PointId] | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002
    ) -> None:
        """Delete points by their ids, in as many requests as it takes, or by a filter; ValueError unless it is one."""
        if (ids is None) == (filter is None):
            raise ValueError("points are deleted by either ids or a filter")
        path = writing.path(name, "/points/delete")
        if ids is None:
            result(self._send(Call.json("POST", path, {"filter": filter})))
            return
        for start in range(0, len(ids), self.limits.max_items):
            group = ids[start : start + self.limits.max_items]
            response = self._send(Call.json("POST", path, {"points": group}))
            result(checked_group(response, self.limits, len(group), offset=start))

    def count(self, name: str, *, filter: Filter | None = None) -> int:  # noqa: A002
        """The number of points, of those that the filter lets through."""
        body = {} if filter is None else {"filter": filter}
        response = self._send(Call.json("POST", writing.path(name, "/points/count"), body))
        found = result(response)
        return read(response, lambda: int(found["count"]))

    def scroll(
        self,
        name: str,
        *,
        limit: int = 10,
        offset: PointId | None = None,
        filter: Filter | None = None,  # noqa: A002
        with_payload: bool = True,
        with_vector: bool = False,
    ) -> Page:
        """A page of points, by their ids; `offset` is the next_page_offset of the page before."""
        body = {
            "limit": limit,
            "offset": offset,
            "filter": filter,
            "with_payload": with_payload,
            "with_vector": with_vector,
        }
        response = self._send(Call.json("POST", writing.path(name, "/points/scroll"), body))
        found = result(response)
        return read(response, lambda: Page(points=found["points"], next_page_offset=found["next_page_offset"]))

    def retrieve(
        self, name: str, ids: Sequence[PointId], *, with_payload: bool = True, with_vector: bool = False
    ) -> list[Found]:
        """Those of the points that there are, by their ids, of which a server takes 1000."""
        body = {"ids": ids, "with_payload": with_payload, "with_vector": with_vector}
        response = self._send(Call.json("POST", writing.path(name, "/points"), body))
        found = result(response)
        return read(response, lambda: list(found))

    def thumbnail(self, name: str, id: PointId) -> bytes:  # noqa: A002
        """A point's thumbnail, a WebP file; NotFound where none is kept."""
        path = writing.path(name, f"/points/{quote(str(id), safe='')}/thumbnail")
        return checked(self._send(Call("GET", path))).content

    def _write(self, target: str, group: Sequence[writing.Ready], params: dict[str, str], offset: int) -> None:
        response = self._send(call(writing.call, target, group, params))
        result(checked_group(response, self.limits, len(group), offset=offset))
