"""When a request is sent again, and after how long."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

import httpx

from amcl_serve.client.calls import Call

REFUSED = (429, 503)  # nothing was begun
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
BROKEN = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)


@dataclass(frozen=True)
class Retry:
    """How long the client is patient with a request.

    A request is sent again when the server refuses it for now (429, 503) or cannot be reached; and, if doing it twice
    is doing it once, when the connection broke or the server's time was up (504). It waits as long as Retry-After says,
    else a random time up to `base`, twice `base`, four times, … (at most `cap`), in seconds. It is sent at most
    `attempts` times, of which `unanswered` may end without an answer, and not again where that would be later than
    `deadline` seconds after the first.
    """

    attempts: int = 5
    unanswered: int = 3
    deadline: float = 120.0
    base: float = 0.5
    cap: float = 10.0


class Tries:
    """The sendings of one request."""

    def __init__(self, retry: Retry, call: Call) -> None:
        self._retry = retry
        self._call = call
        self._started = time.monotonic()
        self._sent = self._unanswered = 0

    def timeout(self, most: float) -> float:
        """Seconds that the next sending may wait: `most`, or what is left until the deadline."""
        return max(0.001, min(most, self._retry.deadline - self._elapsed()))

    def pause(self, outcome: httpx.Response | httpx.TransportError) -> float | None:
        """Seconds to wait before the request is sent again; None if what came of its last sending stands."""
        retry = self._retry
        self._sent += 1
        self._unanswered += not isinstance(outcome, httpx.Response)
        if self._sent >= retry.attempts or self._unanswered >= retry.unanswered:
            return None
        if not self._call.patient or not _passing(self._call, outcome):
            return None
        seconds = _retry_after(outcome)
        if seconds is None:
            seconds = random.uniform(0, min(retry.cap, retry.base * 2.0 ** min(self._sent - 1, 30)))  # noqa: S311
        return seconds if self._elapsed() + seconds <= retry.deadline else None

    def _elapsed(self) -> float:
        return time.monotonic() - self._started


def _passing(call: Call, outcome: httpx.Response | httpx.TransportError) -> bool:
    """Whether another sending may end otherwise, and does no harm."""
    if isinstance(outcome, httpx.Response):
        return outcome.status_code in REFUSED or (outcome.status_code == 504 and call.idempotent)
    return isinstance(outcome, NOT_SENT) or (isinstance(outcome, BROKEN) and call.idempotent)


def _retry_after(outcome: httpx.Response | httpx.TransportError) -> float | None:
    """The seconds that the server asks for; None where it gives none, or a date."""
    asked = outcome.headers.get("retry-after", "") if isinstance(outcome, httpx.Response) else ""
    return float(asked) if asked.isdecimal() else None
