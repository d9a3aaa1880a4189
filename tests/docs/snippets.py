"""The code in the pages of docs/, as a reader would run it, against a server of the tests."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from benchmarks.processes import ROOT

ADDRESS = "127.0.0.1:8000"


def snippet(page: str, heading: str, base: str) -> str:
    """The one Python block under `heading`, with the server of URL `base` in place of the address in it."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", section(page, heading), re.MULTILINE | re.DOTALL)
    return addressed(code, base)


def section(page: str, heading: str) -> str:
    """What lies between a heading and the next."""
    (text,) = re.findall(
        rf"^##+ {re.escape(heading)}\n(.*?)(?=^##+ |\Z)", (ROOT / "docs" / page).read_text(), re.MULTILINE | re.DOTALL
    )
    return str(text)


def addressed(code: str, base: str) -> str:
    """`code` for a server at another address."""
    assert ADDRESS in code
    return code.replace(ADDRESS, urlsplit(base).netloc)
