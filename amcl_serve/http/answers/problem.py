"""Every error becomes one application/problem+json here (RFC 9457)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from amcl_serve.errors import AmclError, BadRequest, InvalidRequest, ItemFault
from amcl_serve.http.metrics import Metrics

MEDIA_TYPE = "application/problem+json"


class Problems:
    """Makes the answers of failed requests, and counts them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._answers: dict[type, Callable[[Request, Any], Response]] = {
            AmclError: self._amcl,
            RequestValidationError: self._validation,
            HTTPException: self._http,
            ClientDisconnect: self._disconnect,
        }

    def install(self, app: FastAPI) -> None:
        """Register the handlers; the unexpected ones answer 500 and are logged with their traceback by the server.

        Middlewares that are to see the 500 too are added after this: FastAPI's own place for it is around them all.
        """
        for kind in self._answers:
            app.add_exception_handler(kind, self._handle)
        app.add_middleware(ServerErrorMiddleware, handler=self._unexpected)

    def known(self, request: Request, error: Exception) -> Response | None:
        """The answer to a request that ended in `error`; None if such an error is a fault of the server."""
        kinds = (kind for kind in type(error).__mro__ if kind in self._answers)
        return next((self._answers[kind](request, error) for kind in kinds), None)

    async def _handle(self, request: Request, error: Exception) -> Response:
        """Async, because frameworks run other handlers in a thread."""
        response = self.known(request, error)
        assert response is not None
        return response

    async def _unexpected(self, request: Request, _: Exception) -> Response:
        return self._amcl(request, AmclError("the server failed on this request; its log says why"))

    def _amcl(self, request: Request, error: AmclError) -> Response:
        self._metrics.rejected.labels(error.code).inc()
        return problem_response(error, request.url.path)

    def _validation(self, request: Request, error: RequestValidationError) -> Response:
        # FastAPI's places begin with "body", "query" or "path"; the field's name is enough.
        return self._amcl(request, invalid({**found, "loc": found["loc"][1:]} for found in error.errors()))

    def _http(self, request: Request, error: HTTPException) -> Response:
        if isinstance(error.__cause__, AmclError):  # FastAPI wraps what reading the body raised, such as BodyTooLarge
            return self._amcl(request, error.__cause__)
        phrase = HTTPStatus(error.status_code).phrase
        code = phrase.lower().replace(" ", "_")
        detail = f"no route {request.url.path}; see /docs" if error.status_code == 404 else str(error.detail)
        headers = dict(error.headers or {})
        if error.status_code == 405:  # the framework names the methods of one route, and a path may have several
            path = getattr(request.scope.get("route"), "path", "")
            routes = [route for route in request.app.routes if getattr(route, "path", None) == path]
            allowed = {method for route in routes for method in route.methods}
            headers = {"allow": ", ".join(sorted(allowed | ({"HEAD"} if "GET" in allowed else set())))}
        self._metrics.rejected.labels(code).inc()
        return _response(error.status_code, code, detail, request.url.path, headers)

    def _disconnect(self, request: Request, _: Exception) -> Response:
        return self._amcl(request, BadRequest("the client closed the connection before it had its answer"))


def problem_response(error: AmclError, path: str) -> Response:
    """The answer to a request for `path` that ended in `error`."""
    headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    if error.challenge is not None:
        headers["www-authenticate"] = error.challenge
    return _response(error.status, error.code, error.detail, path, headers, error.items)


def invalid(errors: Iterable[Any]) -> AmclError:
    """The error of a body or parameter that pydantic refused: BadRequest if it is no JSON, else InvalidRequest."""
    first, *others = errors
    if first["type"] == "json_invalid":
        return BadRequest("the body is not valid JSON")
    said = "; ".join(f"{_where(error['loc'])}{error['msg']}" for error in (first, *others[:2]))
    return InvalidRequest(said)


def _where(loc: Sequence[str | int]) -> str:
    # A part in angles says which of several shapes was meant, and is no member.
    named = [part for part in loc if not (isinstance(part, str) and part.startswith("<"))]
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in named]
    return "".join(parts).lstrip(".") + ": " if parts else ""


def _response(
    status: int, code: str, detail: str, path: str, headers: dict[str, str], items: Sequence[ItemFault] = ()
) -> Response:
    body: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "code": code}
    if path.startswith("/collections"):
        # RFC 9457 tells readers to ignore a `status` that is no number, so both kinds of client are served.
        body["status"] = {"error": detail}
    body["detail"] = detail
    if path.startswith("/v1/"):
        body["error"] = {"message": detail, "type": _openai_type(status), "code": code, "param": None}
    elif path == "/v2" or path.startswith("/v2/"):
        body["error"] = detail
    if items:
        body["errors"] = items
    return Response(orjson.dumps(body), status, headers, media_type=MEDIA_TYPE)


def _openai_type(status: int) -> str:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limit_error"
    return "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
