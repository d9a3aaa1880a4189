"""A server that is killed at work on an evaluation: the next start says so, and finds nothing left of it."""

from __future__ import annotations

import time
from pathlib import Path

import httpx

from tests.amcl_serve.commands.index.server import Server
from tests.amcl_serve.jobs import archives


def test_a_killed_server_says_interrupted_and_leaves_nothing(tiny_bundle: Path, tmp_path: Path) -> None:
    server = Server(tiny_bundle, tmp_path)
    try:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
            # As many as take longer than the test: views of each are embedded too.
            archive = {"archive": ("mine.zip", archives.images(3000))}
            jobs = [
                client.post("/evaluations", files=archive, data={"limit": 3000}).raise_for_status().json()
                for _ in range(2)
            ]
            end = time.monotonic() + 60
            while client.get(f"/evaluations/{jobs[0]['id']}").json()["progress"]["done"] == 0:
                assert time.monotonic() < end
            home = tmp_path / "evaluations"
            assert len(list((home / "incoming").iterdir())) == 2
            server.kill()
        assert (home / "incoming").exists()
        server.start()
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            found = client.get("/evaluations").json()["data"]
            assert {each["id"]: each["status"] for each in found} == {each["id"]: "interrupted" for each in jobs}
            assert {path.name for path in home.iterdir()} == {"lock", *(each["id"] for each in jobs)}
            assert client.get("/readyz").status_code == 200
            for each in jobs:
                assert client.delete(f"/evaluations/{each['id']}").json()["outcome"] == "removed"
        assert {path.name for path in home.iterdir()} == {"lock"}
    finally:
        server.kill()
