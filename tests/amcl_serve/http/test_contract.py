"""schemathesis against a real server: the server answers what /openapi.json says, and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.processes import Server, serving

COMMAND = Path(sys.executable).with_name("schemathesis")
HOOKS = Path(__file__).with_name("contract_checks.py")
# Left out: that every request which fits the schema is accepted. No schema can say that a text is the base64 of an
# image, that vectors have their collection's size, or how many images this server takes.
LEFT_OUT = "positive_data_acceptance"
CONFIG = """
[checks.negative_data_rejection]
expected-statuses = [400, 404, 405, 409, 413, 415, 422]  # 413 by itself would not count as a refusal

[[operations]]
include-path = "/collections/{name}/exists"  # says 200 of one that is gone, as Qdrant's does: "exists": false
checks.use_after_free.enabled = false
"""


@pytest.fixture(scope="module")
def server(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    limits = ("--session-threads", "1", "--max-items", "4", "--max-body-bytes", "65536", "--decode-threads", "1")
    with serving(tiny_bundle, tmp_path_factory.mktemp("contract"), *limits) as server:
        yield server


def examine(server: Server, folder: Path, *flags: str) -> None:
    """schemathesis finds nothing. To it, a status counts as documented by its number only."""
    for name in ("0", "00", "000"):  # what it likes to call things
        httpx.put(f"{server.url}/collections/{name}", json={"vectors": {"size": 1, "distance": "Cosine"}})
        httpx.put(f"{server.url}/collections/{name}/points", json={"points": [{"id": 0, "vector": [1.0]}]})
    schema = httpx.get(f"{server.url}/openapi.json").json()
    for operations in schema["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("default", None)
    (folder / "schemathesis.toml").write_text(CONFIG)
    (folder / "openapi.json").write_text(json.dumps(schema))
    done = subprocess.run(
        [COMMAND, "run", "openapi.json", "--url", server.url, "--exclude-checks", LEFT_OUT, "--no-color", *flags],
        cwd=folder,
        env={"SCHEMATHESIS_HOOKS": str(HOOKS), "HOME": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr + server.log.read_text()
    assert int(re.search(r"(\d+) generated, \1 passed", done.stdout)[1]) > 500  # type: ignore[index]
    assert httpx.get(f"{server.url}/readyz").status_code == 200
    assert "Traceback" not in server.log.read_text()


def test_the_server_keeps_to_its_schema(server: Server, tmp_path: Path) -> None:
    examine(server, tmp_path, "--generation-deterministic", "--max-examples", "25", "--no-shrink")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(3))
def test_the_server_keeps_to_its_schema_in_thousands_of_requests(server: Server, tmp_path: Path, seed: int) -> None:
    examine(server, tmp_path, "--seed", str(seed), "--max-examples", "100")
