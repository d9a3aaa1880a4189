"""The page asks for a key: a form takes it, and a cookie that is not the key remembers that it was good."""

from __future__ import annotations

import hmac
import secrets
import time
from http import HTTPStatus
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from amcl_serve.errors import AmclError, BodyTooLarge, Unauthorized
from amcl_serve.http.about import about, routes
from amcl_serve.http.answers.problem import problem_response
from amcl_serve.http.guards.auth import grant
from amcl_serve.http.guards.keys import Access, Keys

PATH = "/login"
COOKIE = "amcl_session"
SECONDS = 12 * 3600  # until the key is asked for again
MAX_FORM_BYTES = 4096

_FORM = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<title>amcl-serve: key</title>
<style>
  :root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
  body { display: grid; place-content: center; min-height: 90vh; margin: 1rem; }
  form { display: grid; gap: .75rem; width: min(22rem, 90vw); }
  h1 { font-size: 1.25rem; margin: 0; } p { margin: 0; }
  input, button { font: inherit; padding: .5rem .75rem; border: 1px solid #8888; border-radius: .5rem; }
  button { background: #0f766e; color: white; cursor: pointer; }
</style>
<form method="post" action="./login">
  <h1>This server asks for a key</h1>
  {{said}}
  <input type="text" name="username" value="amcl-serve" autocomplete="username" hidden>
  <label for="key">Key</label>
  <input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
  <button>Continue</button>
</form>
</html>
"""


class Sessions:
    """Cookies of visitors who gave a good key; they end with this process, or after 12 hours."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def new(self) -> str:
        """A cookie's value: when it ends, in seconds since 1970, and a signature."""
        ends = str(int(time.time()) + SECONDS)
        return f"{ends}.{self._sign(ends)}"

    def good(self, value: str) -> bool:
        """Whether this process made the value, less than 12 hours ago."""
        ends, _, signature = value.partition(".")
        ours = hmac.compare_digest(self._sign(ends).encode(), signature.encode("utf-8", "replace"))
        return ours and int(ends) > time.time()

    def _sign(self, text: str) -> str:
        return hmac.digest(self._secret, text.encode("utf-8", "replace"), "sha256").hex()


class SessionCookie:
    """ASGI middleware: a good cookie lets its request do what a read-only key may."""

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        self.app = app
        self.sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http":
            cookies = cookie_parser(Request(scope).headers.get("cookie", ""))
            if self.sessions.good(cookies.get(COOKIE, "")):
                grant(scope, Access.READ)
        await self.app(scope, receive, send)


def add_login(api: FastAPI, keys: Keys) -> None:
    """Add /login and what reads its cookie."""
    sessions = Sessions()

    @about(None)  # who comes to it has no key yet
    async def login(request: Request) -> Response:
        if request.method == "GET":  # a visitor whose first key was wrong, and who comes again
            return RedirectResponse(_home(request), HTTPStatus.SEE_OTHER)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_FORM_BYTES:
                raise BodyTooLarge(f"a key's form has at most {MAX_FORM_BYTES} bytes")
        key = parse_qs(body.decode("ascii", "replace")).get("key", [""])[0].strip()
        if keys.access(key.encode("utf-8", "replace")) is None:
            return form("That key is none of this server's.")
        response = RedirectResponse(_home(request), HTTPStatus.SEE_OTHER)
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, sessions.new(), SECONDS, httponly=True, samesite="lax", secure=secure)
        return response

    router = routes(tag="page")
    router.add_api_route(PATH, login, methods=["GET", "POST"], include_in_schema=False)
    api.router.routes.extend(router.routes)
    api.add_middleware(SessionCookie, sessions=sessions)


def _home(request: Request) -> str:
    """The page, under the path of a proxy where there is one."""
    return f"{request.scope.get('root_path', '')}/"


def refuse(error: AmclError, path: str) -> Response:
    """The form in place of the page, and a problem in place of all else."""
    return form() if path == "/" and isinstance(error, Unauthorized) else problem_response(error, path)


def form(said: str = "") -> Response:
    """The form, with a sentence about the last try; 401."""
    page = _FORM.replace("{{said}}", f'<p role="alert">{said}</p>' if said else "")
    headers = {"cache-control": "no-store", "www-authenticate": str(Unauthorized.challenge)}
    return HTMLResponse(page, Unauthorized.status, headers)
