"""How long a call of the store may take, and whether anybody still waits for it."""

from __future__ import annotations

from time import monotonic

from amcl_serve.errors import DeadlineExceeded


class Budget:
    """`seconds` from `start` on; None for all the time there is. `cancel` may be called from any thread."""

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = seconds
        self._end: float | None = None
        self._cancelled = False

    def start(self) -> None:
        """Begin to count."""
        if self._seconds is not None:
            self._end = monotonic() + self._seconds

    def cancel(self) -> None:
        """Nobody waits any more: the work ends soon, with DeadlineExceeded."""
        self._cancelled = True

    @property
    def spent(self) -> bool:
        """Whether the work is to end."""
        return self._cancelled or (self._end is not None and monotonic() > self._end)

    def exceeded(self) -> DeadlineExceeded:
        """The error of work that was ended."""
        if self._cancelled:
            return DeadlineExceeded("the client has left")
        return DeadlineExceeded(
            f"the collection was searched for {self._seconds:g} s and not to the end; "
            "ask with fewer conditions, or of fewer points"
        )
