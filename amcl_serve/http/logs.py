"""The log: a line a record, for people or as JSON, with the id of the request that it is about."""

from __future__ import annotations

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime

from amcl_serve.settings import Settings

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)  # of the request being answered


def configure(settings: Settings) -> None:
    """Send every record of this process to stderr in the settings' format, from the settings' level on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else ConsoleFormatter())
    level = settings.log_level.upper()
    logging.basicConfig(level=level, handlers=[handler])
    for name in ("uvicorn.error", "httpx"):  # their notes of every start, stop and call are for debugging
        logging.getLogger(name).setLevel(level if level == "DEBUG" else max(logging.WARNING, logging.root.level))


class ConsoleFormatter(logging.Formatter):
    """Time, level, logger, the request's id in brackets, message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(about)s%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        about = request_id.get()
        record.about = "" if about is None else f"[{about}] "
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """One JSON object: time, level, logger, message, and where they are known request_id, exception, request's fields.

    The fields are those of the record's `request`, a dictionary.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line of JSON."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (about := request_id.get()) is not None:
            line["request_id"] = about
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line | getattr(record, "request", {}))
