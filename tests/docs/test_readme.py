"""The README's curl lines against a live server."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from amcl_serve.hosting.opening import find_bundle
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
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(find_bundle("default"), tmp_path_factory.mktemp("readme")) as url:
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


def test_the_figures_are_the_default_models(answers: list[Any]) -> None:
    """Within what int8 differs by from one processor to another."""
    (pair,), (point,) = answers[2]["data"], answers[-1]["result"]["points"]
    assert (point["id"], point["payload"]) == (1, {"name": "cat"})
    for name in ("feature_similarity", "score", "uncertainty", "probability"):
        said = re.search(rf'"{name}":([\d.]+)', README)
        assert said
        assert pair[name] == pytest.approx(float(said[1]), abs=0.02), name
    assert point["score"] == pytest.approx(pair["feature_similarity"], abs=1e-5)  # a collection holds features


def test_every_link_of_the_docs_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    for page in pages:
        for target in re.findall(r"(?:\]\(|src=\"|srcset=\")([^)\"#:]+)(?:#[^)]*)?[)\"]", page.read_text()):
            made = target == "openapi.html"  # by `make docs`
            assert made or (page.parent / target).exists(), f"{page.name}: {target}"
