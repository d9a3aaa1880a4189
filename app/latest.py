"""Which of a visitor's requests is the latest: an answer that comes after a later question is not shown."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import count

import gradio as gr

_VISITORS = 4096  # remembered at a time


class Latest:
    """Of one place on the page, for each visitor."""

    def __init__(self) -> None:
        self._numbers = count()
        self._last: OrderedDict[str, int] = OrderedDict()

    def begin(self, request: gr.Request) -> Callable[[], bool]:
        """A request begins; what is returned says whether it is still the visitor's latest one here."""
        visitor, mine = request.session_hash or "", next(self._numbers)
        self._last[visitor] = mine
        self._last.move_to_end(visitor)
        if len(self._last) > _VISITORS:
            self._last.popitem(last=False)
        return lambda: self._last.get(visitor, mine) == mine
