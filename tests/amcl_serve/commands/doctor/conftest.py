from __future__ import annotations

from pathlib import Path

import pytest

from amcl_serve import cli
from tests.amcl_serve.commands.doctor.asking import Doctor
from tests.amcl_serve.commands.ports import free_port


@pytest.fixture
def ask(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Runs the doctor: its exit code and its lines by check; later flags go before the sound ones given here."""

    def ask(*argv: str) -> tuple[int, dict[str, str]]:
        sound = ["--data-dir", str(tmp_path / "data"), "--port", str(free_port()), "--max-pixels", "1000000"]
        model = [] if "--model" in argv else ["--model", str(tiny_bundle)]
        code = cli.main(["doctor", *sound, *model, *argv])
        lines = capsys.readouterr().out.splitlines()
        return code, {line[6:18].strip(): line[:5].strip() + " " + line[19:] for line in lines}

    return ask
