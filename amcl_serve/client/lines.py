"""Answers that come line by line; nothing here sends anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import orjson

from amcl_serve.client.calls import ERRORS, Call, read
from amcl_serve.client.points import path
from amcl_serve.client.shapes import Filter, Found, Leak
from amcl_serve.errors import UnexpectedAnswer

Progress = Callable[[float], object]  # is told the share of the work that is done, 0 to 1


def call(name: str, what: str, **body: Any) -> Call:
    """The request for an analysis of a collection; what is None is the server's default."""
    given = {key: value for key, value in body.items() if value is not None}
    return Call.json("POST", path(name, f"/{what}"), given)


def line_of(response: httpx.Response, text: str) -> dict[str, Any]:
    """A line as an object; the error that it carries is raised."""

    def parse() -> dict[str, Any]:
        line = orjson.loads(text)
        if not isinstance(line, dict):
            raise TypeError("a line is an object")
        return line

    line = read(response, parse)
    if "code" in line:
        raise ERRORS.get(str(line["code"]), UnexpectedAnswer)(str(line.get("detail")))
    return line


class Gathered:
    """What the lines of an answer say, put together."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self.points: list[Found] = []
        self.groups: list[list[Found]] = []
        self.leaks: list[Leak] = []
        self.result: dict[str, Any] | None = None

    def take(self, line: dict[str, Any]) -> None:
        """The next line."""
        if "progress" in line and self._progress is not None:
            self._progress(float(line["progress"]))
        if "point" in line:
            self.points.append(line["point"])
        if "group" in line:
            group = line["group"]
            while len(self.groups) <= group["number"]:
                self.groups.append([])
            self.groups[group["number"]] += group["points"]
        if "leak" in line:
            leak = line["leak"]
            if self.leaks and self.leaks[-1]["id"] == leak["id"]:
                self.leaks[-1]["matches"] += leak["matches"]
            else:
                self.leaks.append(leak)
        if "result" in line:
            self.result = line["result"]

    def done(self) -> dict[str, Any]:
        """The last line's result; UnexpectedAnswer where none came."""
        if self.result is None:
            raise UnexpectedAnswer("the answer ends before its last line; has the server been stopped?")
        return self.result


def cut(cosine: float | None, probability: float | None, hash_key: str | None) -> dict[str, Any]:
    """What says from where on two points are duplicates; ValueError unless it is one."""
    given = {"cosine": cosine, "probability": probability, "hash": hash_key}
    found = {name: value for name, value in given.items() if value is not None}
    if len(found) != 1:
        raise ValueError("duplicates are cut by one of cosine, probability and hash")
    return found


def which(points: Filter | None, with_payload: bool | list[str]) -> dict[str, Any]:
    """Which points, and what is told of them."""
    return {"filter": points, "with_payload": with_payload}
