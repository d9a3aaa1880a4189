"""Holds answers to the OpenAPI schema: status, content type, headers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx


def conforms(schema: dict[str, Any]) -> Callable[[httpx.Response], None]:
    """A hook that fails for an answer of a documented operation that its documentation does not allow."""
    ours = set(schema["components"]["headers"])
    paths = [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), path) for path in schema["paths"]]

    def check(response: httpx.Response) -> None:
        request = response.request
        found = next((path for pattern, path in paths if pattern.fullmatch(request.url.path)), None)
        operation = schema["paths"].get(found, {}).get(request.method.lower())
        if operation is None:
            return
        what = f"{request.method} {found} {response.status_code}"
        assert str(response.status_code) in operation["responses"], f"{what} is not documented"
        documented = operation["responses"][str(response.status_code)]
        kind = response.headers["content-type"].partition(";")[0]
        assert kind in documented["content"], f"{what} has the content type {kind}"
        sent = ours & set(response.headers)
        assert sent <= set(documented["headers"]), f"{what} has headers that are not documented"
        required = {
            name for name in documented["headers"] if schema["components"]["headers"].get(name, {}).get("required")
        }
        assert required <= sent, f"{what} lacks {required - sent}"
        for name in sent:
            pattern = schema["components"]["headers"][name]["schema"].get("pattern", "")
            assert re.search(pattern, response.headers[name]), f"{what}: {name} is {response.headers[name]!r}"

    return check
