"""The refusal of a full server, written as soon as the request's headers are read.

Under overload nearly every request ends in 429, and what a refusal costs is taken from the requests that are answered.
As a task that runs through the middlewares it takes twice as long.
"""

from __future__ import annotations

from functools import lru_cache
from time import perf_counter
from typing import cast

from fastapi import FastAPI
from starlette.types import Scope
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from amcl_serve.http.answers.problem import problem_response
from amcl_serve.http.guards import request_id
from amcl_serve.http.guards.connection import bounded, lines, written
from amcl_serve.http.guards.limits import FULL, SAFE
from amcl_serve.http.metrics import TOTAL_TIME, milliseconds
from amcl_serve.http.server import server_in


def protocol(app: FastAPI) -> type[HttpToolsProtocol]:
    """The HTTP protocol for uvicorn: `bounded`, and it gives BodyLimit's answer itself while `app` is full.

    Answer and metrics are those of the middlewares; a key is not looked at. Where a middleware has more to do about a
    refusal, a line in the log or the headers of CORS, it is left to them: BodyLimit refuses under any protocol.
    """
    server = server_in(app)
    settings, in_flight, metrics = server.settings, server.in_flight, server.metrics
    base = bounded(app)
    if settings.allowed_origins or request_id.log.isEnabledFor(request_id.level_of(settings)):
        return base
    rejected = metrics.rejected.labels(FULL.code)

    class Refusing(base):  # type: ignore[valid-type, misc]  # mypy wants a class whose name is known
        def _start_asgi_task(self, cycle: RequestResponseCycle, asgi: ASGI3Application) -> None:
            # Also on the usual way: what has more to it than one answer, and a client that reads none.
            if (
                not in_flight.full
                or cycle.scope["method"] in SAFE
                or self.pipeline
                or not cycle.keep_alive
                or self.flow.write_paused
            ):
                super()._start_asgi_task(cycle, asgi)
                return
            started, scope = perf_counter(), cast(Scope, cycle.scope)
            rejected.inc()
            metrics.answered(scope, FULL.status)
            head, body = _answer(scope["path"])
            number = request_id.id_of(scope)
            spent = milliseconds(1000 * (perf_counter() - started))
            ours = f"{request_id.HEADER}: {number}\r\n{TOTAL_TIME}: {spent}\r\n\r\n"
            self.transport.write(b"".join((head, lines(self.server_state.default_headers), ours.encode(), body)))
            cycle.response_complete = True  # what else comes of the request is passed over
            self.on_response_complete()

    return Refusing


@lru_cache(maxsize=64)
def _answer(path: str) -> tuple[bytes, bytes]:
    return written(problem_response(FULL, path))
