"""How much is under way: requests with a body, and the bytes that they hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class InFlight:
    """Requests with a body under way, and the bytes that they have sent; one for all BodyLimits of a server."""

    most: int  # requests
    most_whole: int
    bytes: int = 0
    requests: int = 0
    whole: int = 0  # of the requests, those whose body is here
    _shut: bool = False

    @property
    def full(self) -> bool:
        """Whether a further request is turned away, unless its method is one of SAFE.

        Once `most_whole` are here, all are until half of those are answered: under overload a server that lets one in
        for each that leaves has its caches and its event loop busy with two things at once, and answers 5 % fewer.
        """
        self._shut = self.whole > self.most_whole // 2 if self._shut else self.whole >= self.most_whole
        return self._shut or self.requests >= self.most
