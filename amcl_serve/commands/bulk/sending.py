"""Images on their way into a collection: in groups that a request can hold, several requests at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from amcl_serve.client import Client, Point
from amcl_serve.commands.bulk.interrupts import held_back
from amcl_serve.commands.bulk.progress import BROKEN
from amcl_serve.errors import AmclError, BodyTooLarge, TooManyItems

MAX_BATCH = 1000
BATCH_BYTES = 32 * 1024 * 1024  # half of what a server takes by default
AT_ONCE = 3  # groups under way: one is read, one is on its way, one is embedded
_LOOK = 0.2  # seconds between two looks at Ctrl-C


@dataclass(frozen=True)
class Item:
    """A point whose image is the bytes of a file, and what reports call it."""

    name: str
    point: Point
    bytes: int


Outcome = tuple[Item, str, str]  # and the reason if it is BROKEN


def groups(items: Iterable[Item], batch: int) -> Iterator[list[Item]]:
    """`items` in lists of at most `batch`, and of BATCH_BYTES unless one alone has more."""
    group: list[Item] = []
    size = 0
    for item in items:
        if group and (len(group) == batch or size + item.bytes > BATCH_BYTES):
            yield group
            group, size = [], 0
        group.append(item)
        size += item.bytes
    if group:
        yield group


def deliver(
    waiting: Iterable[list[Item]], work: Callable[[list[Item]], list[Outcome]], report: Callable[[Outcome], None]
) -> None:
    """`work` on each group in threads, AT_ONCE of them at a time; `report` what came of each, in order, in this one.

    What it raises ends all. For the main thread: Ctrl-C is raised between two looks.
    """
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="amcl-send")
    under_way: deque[Future[list[Outcome]]] = deque()

    def finish() -> None:
        first = under_way.popleft()
        while not wait([first], timeout=_LOOK).done:
            check()
        for outcome in first.result():
            report(outcome)
        check()

    with held_back() as check:
        try:
            for group in waiting:
                under_way.append(pool.submit(work, group))
                if len(under_way) == AT_ONCE:
                    finish()
            while under_way:
                finish()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def send(
    client: Client, collection: str, group: list[Item], outcome: str, *, model: str | None = None
) -> list[Outcome]:
    """Upsert a group without its broken images, and in halves where it is too large for the server.

    `outcome` is that of what is stored then. Raises AmclError for what is no single image's fault.
    """
    outcomes: list[Outcome] = []
    while group:
        try:
            client.upsert(collection, [item.point for item in group], model=model)
        except AmclError as error:
            if isinstance(error, BodyTooLarge | TooManyItems) and len(group) > 1:
                half = len(group) // 2
                outcomes += send(client, collection, group[:half], outcome, model=model)
                group = group[half:]
                continue
            at_fault = error.items if error.status < 500 else ()  # else the server is
            broken = {
                item.index: item.detail
                for item in at_fault
                if item.operand in ("files", "points") and item.index < len(group)
            }
            if isinstance(error, BodyTooLarge):
                broken = {0: error.detail}
            if not broken:
                raise
            outcomes += [(group[index], BROKEN, reason) for index, reason in broken.items()]
            group = [item for index, item in enumerate(group) if index not in broken]
            continue
        return outcomes + [(item, outcome, "") for item in group]
    return outcomes
