"""The snippets of docs/clients.md for clients that the development environment has; mteb's and LangChain's are slow."""

from __future__ import annotations

import re
import shlex

import pytest
from lightly_studio_serve import cli

from benchmarks.processes import ROOT
from tests.amcl_serve.http.routes.protocols.asking import KEY
from tests.docs.snippets import addressed, section, snippet
from tests.fakes import D


@pytest.mark.parametrize(
    ("client", "printed"), [("OpenAI", f"{D}"), ("Cohere", f"{D} {-(-D // 8)}"), ("Triton", f"(2, {D})")]
)
def test_a_snippet_prints_what_it_says(
    served: str, client: str, printed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    code = snippet("clients.md", client, served)
    assert '"key"' in code
    exec(code.replace('"key"', repr(KEY)), {})
    assert capsys.readouterr().out.strip() == printed


def test_lightly_studios_command_passes(served: str, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = re.findall(r"^    lightly-studio-serve (.*)$", section("clients.md", "LightlyStudio"), re.MULTILINE)
    arguments = shlex.split(addressed(line, served))
    assert arguments[-2:] == ["--api-key", "key"]
    assert cli.main([*arguments[:-1], KEY]) == 0
    assert "PASSED" in capsys.readouterr().out.splitlines()
