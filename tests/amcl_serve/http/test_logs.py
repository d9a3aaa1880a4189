from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from amcl_serve.http.logs import ConsoleFormatter, JsonFormatter, request_id
from tests.amcl_serve.commands.ports import free_port


def record(message: str, *arguments: object, **extra: Any) -> logging.LogRecord:
    return logging.getLogger("amcl_serve").makeRecord(
        "amcl_serve", logging.WARNING, "file", 1, message, arguments, None, extra=extra
    )


@pytest.fixture
def about() -> Iterator[str]:
    token = request_id.set("id-1")
    yield "id-1"
    request_id.reset(token)


def test_console_lines_name_the_request(about: str) -> None:
    line = ConsoleFormatter().format(record("%d images", 3))
    assert line.endswith(f" WARNING amcl_serve: [{about}] 3 images")


def test_console_lines_without_a_request() -> None:
    assert ConsoleFormatter().format(record("100 % ready")).endswith(" WARNING amcl_serve: 100 % ready")


def test_json_lines(about: str) -> None:
    fields = {"path": "/embed", "status": 200}
    line = json.loads(JsonFormatter().format(record("said\n\udcff %s", "ü", request=fields)))
    assert datetime.fromisoformat(line.pop("time")).tzinfo is not None
    expected = {"level": "warning", "logger": "amcl_serve", "message": "said\n\udcff ü", "request_id": about}
    assert line == expected | fields


def test_json_lines_hold_the_traceback_in_one_line() -> None:
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        found = record("failed")
        found.exc_info = sys.exc_info()
    text = JsonFormatter().format(found)
    assert "\n" not in text
    line = json.loads(text)
    assert "RuntimeError: broken" in line["exception"]
    assert "request_id" not in line


SERVE = """
import sys
from amcl_serve.http import app
from amcl_serve.http.about import about
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.routes import docs
from amcl_serve.cli import main
docs.router.add_api_route("/bug", about(Access.READ)(lambda: 1 / 0))
sys.exit(main())
"""


def test_a_servers_log_is_json_from_its_first_line_to_its_last(tiny_bundle: Path, tmp_path: Path) -> None:
    """The line of each request and the traceback of a bug carry the request's id; no line carries the key."""
    port, key = free_port(), "key-that-no-log-holds"
    flags = {"model": tiny_bundle, "port": port, "data-dir": tmp_path, "log-format": "json", "log-requests": "true"}
    argv = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AMCL_")}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, "serve", *argv],
        env=environment | {"AMCL_API_KEY": key},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert "is ready on" in process.stdout.readline()
        for path, number in (("/models", "one"), ("/bug", "two"), ("/nowhere", "three")):
            headers = {"authorization": f"Bearer {key}", "x-request-id": number}
            response = httpx.get(f"http://127.0.0.1:{port}{path}?q={key}", headers=headers, trust_env=False)
            assert response.headers["x-request-id"] == number
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert key not in log
    lines = [json.loads(line) for line in log.splitlines()]
    requests = {line["request_id"]: (line["path"], line["status"]) for line in lines if "status" in line}
    assert requests == {"one": ("/models", 200), "two": ("/bug", 500), "three": ("/nowhere", 404)}
    (bug,) = [line for line in lines if "exception" in line]
    assert bug["request_id"] == "two"
    assert "ZeroDivisionError" in bug["exception"]
    assert any(line["message"].startswith("model tiny") for line in lines)
