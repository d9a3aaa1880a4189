"""The methods that look at all points of a collection; names and defaults are the server's.

They take long, up to a minute for 100,000 points: `progress` is told the share that is done, about once a second.
"""

from __future__ import annotations

from functools import partial

from amcl_serve.client import lines
from amcl_serve.client._async.sending import AsyncSender
from amcl_serve.client.calls import Call, read
from amcl_serve.client.lines import Gathered, Progress
from amcl_serve.client.shapes import DuplicatesAnswer, Filter, Found, LeaksAnswer, SampleAnswer


class AsyncAnalysis(AsyncSender):
    """What a collection's pictures are to each other."""

    async def duplicates(
        self,
        name: str,
        *,
        cosine: float | None = None,
        probability: float | None = None,
        hash: str | None = None,  # noqa: A002
        filter: Filter | None = None,  # noqa: A002
        with_payload: bool | list[str] = False,
        progress: Progress | None = None,
    ) -> DuplicatesAnswer:
        """Groups of near duplicates, the largest first; ValueError unless one of cosine, probability and hash says from
        where on: the lowest cosine of a pair, the lowest probability by the collection's model, or the key of the
        payload that has a content's hash (`sha256` of `amcl-serve index`).
        """
        body = lines.cut(cosine, probability, hash) | lines.which(filter, with_payload)
        found = Gathered(progress)
        await self._gather(lines.call(name, "duplicates", **body), found)
        result = found.done()
        return DuplicatesAnswer(groups=found.groups, points=result["points"], duplicates=result["duplicates"])

    async def leaks(
        self,
        name: str,
        against: str,
        *,
        cosine: float | None = None,
        probability: float | None = None,
        hash: str | None = None,  # noqa: A002
        filter: Filter | None = None,  # noqa: A002
        with_payload: bool | list[str] = False,
        progress: Progress | None = None,
    ) -> LeaksAnswer:
        """The points of a collection that are near to points of another, with these, nearest first; cut as duplicates.

        The filter is of the first collection's points.
        """
        body = lines.cut(cosine, probability, hash) | lines.which(filter, with_payload)
        found = Gathered(progress)
        await self._gather(lines.call(name, "duplicates", against=against, **body), found)
        result = found.done()
        return LeaksAnswer(leaks=found.leaks, points=result["points"], against=result["against"], pairs=result["pairs"])

    async def outliers(
        self,
        name: str,
        *,
        limit: int = 10,
        neighbours: int = 10,
        filter: Filter | None = None,  # noqa: A002
        with_payload: bool | list[str] = False,
        progress: Progress | None = None,
    ) -> list[Found]:
        """The points with the lowest mean cosine to their nearest neighbours, which is their score, lowest first."""
        found = Gathered(progress)
        body = lines.which(filter, with_payload)
        await self._gather(lines.call(name, "outliers", limit=limit, neighbours=neighbours, **body), found)
        found.done()
        return found.points

    async def sample(
        self,
        name: str,
        *,
        limit: int = 10,
        filter: Filter | None = None,  # noqa: A002
        with_payload: bool | list[str] = False,
        progress: Progress | None = None,
    ) -> SampleAnswer:
        """A diverse subset: each point the one farthest from those before it; its distance is 1 - cosine to these."""
        found = Gathered(progress)
        await self._gather(lines.call(name, "sample", limit=limit, **lines.which(filter, with_payload)), found)
        result = found.done()
        return SampleAnswer(points=found.points, radius=result["radius"])

    async def _gather(self, call: Call, found: Gathered) -> None:
        async with self._opened(call) as response:
            async for text in response.aiter_lines():
                line = lines.line_of(response, text)
                read(response, partial(found.take, line))
