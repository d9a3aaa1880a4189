"""Print the README's answers anew, as the default model gives them: what its curl lines say, abridged.

    python -m scripts.readme_figures

Runs the README's lines against a server of its own and rewrites the indented blocks behind them in place.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from tests.app.server import ROOT, serving
from tests.docs.test_readme import run

README = ROOT / "README.md"
LINE = re.compile(r"^```sh\n(curl .*)\n```\n(?:\n((?:    .*\n)+))?", re.MULTILINE)


def abridged(said: Any) -> str | None:
    """The block that the README shows, None for an answer that it does not show."""
    if "data" not in said:
        points = said["result"]["points"] if isinstance(said["result"], dict) and "points" in said["result"] else None
        return json.dumps(said, separators=(",", ":")) if points else None
    head = f'{{"model":"{said["model"]}","digest":"{said["digest"][:11]}…",'
    first = said["data"][0]
    if "embedding" in first:
        numbers = ",".join(str(value) for value in first["embedding"][:2])
        rest = '{"index":1,"embedding":[…]}'
        return f'{head}"dim":{said["dim"]},\n "data":[{{"index":0,"embedding":[{numbers},…]}},{rest}]}}'
    if "heads" in first:
        rest = ",[…]" * (len(first["heads"]) - 1)
        return f'{head}"dim":{said["dim"]},\n "data":[{{"index":0,"heads":[[{first["heads"][0][0]},…]{rest}]}}]}}'
    text = json.dumps(first, separators=(",", ":"))
    text = text.replace('"feature', '\n "feature', 1).replace('"temperature', '\n "temperature', 1)
    text = text.replace('"probability', '\n "probability', 1)
    return f'{head}"mode":"pairs","data":[{text}]}}'


def main() -> None:
    """Serve the default bundle, ask, rewrite."""
    text = README.read_text()
    with tempfile.TemporaryDirectory() as folder, serving("default", Path(folder)) as base:
        for match in list(LINE.finditer(text)):
            block = abridged(run(match[1], base))
            if block and match[2]:
                new = "".join(f"    {line}\n" for line in block.split("\n"))
                text = text.replace(match[2], new, 1)
    README.write_text(text)


if __name__ == "__main__":
    main()
