"""The README's curl lines against a live server."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.app.server import ROOT, serving

README = (ROOT / "README.md").read_text()
LINES = re.findall(r"^```sh\n(curl .*)\n```$", README, re.MULTILINE)
EMBEDDED = {"model", "digest", "dim", "data"}
KEYS = [  # of each line's answer, and of the first thing in it
    (EMBEDDED, ("data", 0), {"index", "embedding"}),
    (EMBEDDED, ("data", 0), {"index", "heads"}),
    (
        {"model", "digest", "mode", "data"},
        ("data", 0),
        {
            "index",
            "feature_similarity",
            "head_similarity",
            "temperature",
            "score",
            "uncertainty",
            "probability",
            "same",
        },
    ),
    ({"result", "status", "time"}, (), {"result", "status", "time"}),
    ({"result", "status", "time"}, ("result",), {"operation_id", "status"}),
    ({"result", "status", "time"}, ("result", "points", 0), {"id", "version", "score", "payload"}),
]


@pytest.fixture(scope="module")
def base(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tiny_bundle, tmp_path_factory.mktemp("readme")) as url:
        yield url


def test_the_readme_has_the_lines_that_are_known_here() -> None:
    assert len(LINES) == len(KEYS)


def run(line: str, base: str) -> Any:
    """What a line answers."""
    assert "localhost:8000" in line
    command = line.replace("localhost:8000", base).replace("curl ", "curl -sS --max-time 20 -w '\\n%{http_code}' ", 1)
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    body, status = done.stdout.rsplit("\n", 1)
    assert status == "200", f"{line}: {body}"
    return json.loads(body)


@pytest.fixture(scope="module")
def answers(base: str) -> list[Any]:
    """What the lines answer, run in their order."""
    return [run(line, base) for line in LINES]


def test_the_curl_lines_answer_as_written(answers: list[Any]) -> None:
    for line, answer, (keys, way, inner) in zip(LINES, answers, KEYS, strict=True):
        assert set(answer) == keys, line
        for step in way:
            answer = answer[step]
        assert set(answer) == inner, line


@pytest.mark.usefixtures("answers")
def test_the_search_finds_the_cat(base: str) -> None:
    """By the cat itself: that its mirror image is nearer than the cup is the model's affair, and this one is random."""
    line = LINES[-1].replace("cat-mirrored.jpg", "cat.jpg")
    assert line != LINES[-1]
    (point,) = run(line, base)["result"]["points"]
    assert point.pop("score") == pytest.approx(1, abs=1e-5)
    said = json.dumps(point, separators=(",", ":"))
    assert said == '{"id":1,"version":1,"payload":{"name":"cat"}}'
    assert said.replace('"payload"', '"score":…,"payload"') in README


def test_every_link_of_the_docs_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    for page in pages:
        for target in re.findall(r"(?:\]\(|src=\"|srcset=\")([^)\"#:]+)(?:#[^)]*)?[)\"]", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
