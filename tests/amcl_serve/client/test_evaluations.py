"""evaluate, calibrate and their kin through Client and AsyncClient."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from amcl_serve.client import AsyncClient, Client
from amcl_serve.errors import CollectionNotFound, EvaluationNotFound, InvalidRequest
from benchmarks.processes import serving
from tests.amcl_serve.jobs import archives


@pytest.fixture(scope="module")
def url(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    flags = ("--session-threads", "1", "--decode-threads", "1", "--max-body-bytes", "4096")
    with serving(tiny_bundle, tmp_path_factory.mktemp("data"), *flags) as server:
        yield server.url


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "mine.zip"
    path.write_bytes(archives.pairs(60))
    return path


def test_an_evaluation_is_waited_for(url: str, archive: Path) -> None:
    seen = []
    with Client(url) as client:
        found = client.evaluate(archive, seed=4, progress=lambda job: seen.append(job["status"]))
        assert (found["status"], found["dataset"]) == ("done", "mine.zip")
        assert seen[-1] == "done"
        result = found.get("result")
        assert result is not None
        assert result["sections"]
        assert client.report(found["id"]).startswith("<!doctype html>")
        assert found["id"] in [each["id"] for each in client.evaluations()]
        assert [client.cancel(found["id"]) for _ in range(2)] == ["removed", "absent"]
        with pytest.raises(EvaluationNotFound):
            client.evaluation(found["id"])


def test_one_that_is_not_waited_for_is_asked_after(url: str, archive: Path) -> None:
    async def ask() -> None:
        async with AsyncClient(url) as client:
            job = await client.evaluate(archive, wait=False)
            assert job["status"] == "queued"
            while (job := await client.evaluation(job["id"]))["status"] in ("queued", "running"):
                await anyio.sleep(0.05)
            assert job["status"] == "done"

    anyio.run(ask)


def test_a_calibration_is_made_and_undone(url: str, archive: Path) -> None:
    with Client(url) as client:
        found = client.calibrate(archive, false_accept_rate=0.4)
        assert found["threshold"]["by"] == "false_accept_rate"
        assert [client.uncalibrate() for _ in range(2)] == [True, False]


def test_what_is_refused_is_raised(url: str, archive: Path) -> None:
    with Client(url) as client:
        with pytest.raises(CollectionNotFound):
            client.evaluate(collection="none")
        with pytest.raises(InvalidRequest):
            client.evaluate(archive, protocol="labelled")
        with pytest.raises(ValueError, match="one of them"):
            client.evaluate(archive, collection="none")
        with pytest.raises(FileNotFoundError):
            client.evaluate(archive.with_name("none.zip"))
