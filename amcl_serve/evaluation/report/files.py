"""The three files of a report, in a folder."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amcl_serve.evaluation.report.gates import Verdict
from amcl_serve.evaluation.report.junit import junit
from amcl_serve.evaluation.report.page import page
from amcl_serve.evaluation.result import Result

PAGE, DATA, JUNIT = "report.html", "report.json", "junit.xml"


def as_json(result: Result, verdicts: Sequence[Verdict] = ()) -> bytes:
    """`result.to_json()` and, as `gates`, what became of each; UTF-8, bytes of no encoding in names as `?`."""
    gates = [
        {
            "name": verdict.gate.name,
            "bound": verdict.gate.bound,
            "figure": None if verdict.figure is None else verdict.figure.name,
            "measured": verdict.measured,
            "passed": verdict.passed,
            "reason": verdict.reason,
        }
        for verdict in verdicts
    ]
    text = json.dumps(result.to_json() | {"gates": gates}, ensure_ascii=False, allow_nan=False, default=_scalar)
    return text.encode("utf-8", "replace")


def write(result: Result, verdicts: Sequence[Verdict], folder: Path) -> Path:
    """Write the page, the data and the gates into `folder`, made if need be; the page's path.

    Each file is whole or not there, whatever happens meanwhile; the page comes last. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / DATA, as_json(result, verdicts))
    _replace(folder / JUNIT, junit(result, verdicts))
    _replace(folder / PAGE, page(result, verdicts).encode())
    return folder / PAGE


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with unfinished.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _scalar(value: Any) -> Any:
    """NumPy's numbers as Python's, None for what is not finite."""
    if dataclasses.is_dataclass(value) or not hasattr(value, "item"):
        raise TypeError(f"{type(value).__name__} is no plain value")
    plain = value.item()
    return plain if not isinstance(plain, float) or math.isfinite(plain) else None
