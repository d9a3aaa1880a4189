"""A shadow of a collection: the same points, their images embedded by another model.

Nothing is kept but the two collections. A point is done when the shadow has it with the same payload, in which
`amcl-serve index` records the hash of the image; so a run that was killed goes on where it was, and points that change
meanwhile are found by looking again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from amcl_serve.client import Client, Point
from amcl_serve.commands.bulk.progress import BROKEN
from amcl_serve.commands.bulk.sending import Item, Outcome, deliver, groups, send
from amcl_serve.commands.reindexing.images import Images, Unobtainable

EMBEDDED, PRESENT = "embedded anew", "done before"
Report = Callable[[str, str, str], None]  # what a point is called, outcome (these or BROKEN), reason if broken
Id = int | str  # as JSON has it

_PAGE = 500  # points compared at a time


@dataclass(frozen=True)
class Missing:
    """A point that is not in the shadow, and why."""

    name: str
    reason: str
    print: int  # of its payload


class Shadow:
    """`new` follows `old`, whose images come from `images`, by `model`."""

    def __init__(self, client: Client, old: str, new: str, model: str, images: Images, *, batch: int) -> None:
        self.missing: dict[Id, Missing] = {}
        self._seen: dict[Id, int] = {}  # prints of the payloads, as `old` had them when it was last looked through
        self._client = client
        self._old = old
        self._new = new
        self._model = model
        self._images = images
        self._batch = batch

    @property
    def ids(self) -> list[Id]:
        """Of the points that both have, in a fixed order."""
        return sorted((each for each in self._seen if each not in self.missing), key=str)

    def follow(self, report: Report) -> int:
        """Look through all points of `old` and do to `new` what is lacking; how many points of it that changed."""
        seen: dict[Id, int] = {}
        changed = self._deliver(self._differing(seen, report), report)
        self._seen = seen
        self.missing = {each: why for each, why in self.missing.items() if each in seen}
        return changed + self._delete(each for each in self._ids_of_new() if each not in seen)

    def catch_up(self, report: Report) -> int:
        """Do what changed in `old` since it was last looked through, but not to points that `new` got since.

        For the moment between the last look and the swap.
        """
        seen: dict[Id, int] = {}
        changed = self._deliver(self._late(seen, report), report)
        gone = [each for each in self._seen if each not in seen]
        for start in range(0, len(gone), _PAGE):
            part = gone[start : start + _PAGE]
            have = self._of_new(part)
            changed += self._delete(each for each in part if each in have and _print(have[each]) == self._seen[each])
        return changed

    def _differing(self, seen: dict[Id, int], report: Report) -> Iterator[Item]:
        """The points that `new` lacks, or has with another payload."""
        for page in self._pages():
            have = self._of_new([point["id"] for point in page])
            stale = []
            for point in page:
                each = point["id"]
                seen[each] = _print(point["payload"])
                if each in have and have[each] == point["payload"]:
                    self.missing.pop(each, None)
                    report(_name(point), PRESENT, "")
                    continue
                known = self.missing.get(each)
                item = self._item(point, report) if known is None or known.print != seen[each] else None
                if item is not None:
                    yield item
                elif each in have:
                    stale.append(each)
            self._delete(iter(stale))

    def _late(self, seen: dict[Id, int], report: Report) -> Iterator[Item]:
        """The points of `old` that have changed, where `new` has what this wrote, or nothing of a new one."""
        for page in self._pages():
            fresh = []
            for point in page:
                seen[point["id"]] = _print(point["payload"])
                if seen[point["id"]] != self._seen.get(point["id"]):
                    fresh.append(point)
            have = self._of_new([point["id"] for point in fresh])
            for point in fresh:
                each = point["id"]
                ours = None if each in self.missing else self._seen.get(each)
                if (_print(have[each]) if each in have else None) == ours:
                    item = self._item(point, report)
                    if item is not None:
                        yield item

    def _item(self, point: dict[str, Any], report: Report) -> Item | None:
        """The point with its image; None, and it is missing, where there is none."""
        try:
            data = self._images.read(point)
        except Unobtainable as error:
            self._miss(point, str(error), report)
            return None
        return Item(_name(point), Point(point["id"], point["payload"], image=data), len(data))

    def _deliver(self, items: Iterator[Item], report: Report) -> int:
        changed = 0

        def note(outcome: Outcome) -> None:
            nonlocal changed
            item, what, reason = outcome
            point = {"id": item.point.id, "payload": item.point.payload}
            if what == BROKEN:
                self._miss(point, reason, report)
                return
            self.missing.pop(point["id"], None)  # type: ignore[arg-type]
            changed += 1
            report(item.name, what, reason)

        deliver(
            groups(items, self._batch),
            lambda group: send(self._client, self._new, group, EMBEDDED, model=self._model),
            note,
        )
        return changed

    def _miss(self, point: dict[str, Any], reason: str, report: Report) -> None:
        self.missing[point["id"]] = Missing(_name(point), reason, _print(point["payload"]))
        report(_name(point), BROKEN, reason)

    def _pages(self) -> Iterator[list[dict[str, Any]]]:
        yield from pages(self._client, self._old, payload=True)

    def _ids_of_new(self) -> Iterator[Id]:
        for page in pages(self._client, self._new, payload=False):
            yield from (point["id"] for point in page)

    def _of_new(self, ids: list[Id]) -> dict[Id, Any]:
        """Payloads by id, of those that there are."""
        found = self._client.retrieve(self._new, ids) if ids else []
        return {point["id"]: point["payload"] for point in found}

    def _delete(self, ids: Iterator[Id]) -> int:
        gone = list(ids)
        if gone:
            self._client.delete(self._new, gone)
        return len(gone)


def pages(client: Client, collection: str, *, payload: bool) -> Iterator[list[dict[str, Any]]]:
    """All points of a collection, in pages."""
    start: Any = None
    while True:
        page = client.scroll(collection, limit=_PAGE, offset=start, with_payload=payload)
        yield [dict(point) for point in page["points"]]
        start = page["next_page_offset"]
        if start is None:
            return


def _name(point: dict[str, Any]) -> str:
    return str(point["payload"].get("path", point["id"]))


def _print(payload: Any) -> int:
    """A number that another payload hardly has."""
    return hash(orjson.dumps(payload, option=orjson.OPT_SORT_KEYS))
