from __future__ import annotations

from pathlib import Path

import pytest

from amcl_serve.errors import StorageError
from amcl_serve.jobs.folder import JobFolder
from amcl_serve.jobs.job import Job

JOB = Job(
    id="0123456789abcdef",
    created="2026-01-01T00:00:00+00:00",
    model="tiny",
    digest="sha256:0",
    dataset="mine.zip",
    images=3,
    protocol="label_free",
    seed=0,
    limit=None,
)


def test_what_a_killed_server_left_is_gone_and_what_it_kept_is_there(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    folder.save(JOB)
    folder.keep(JOB.id, b"{}", b"<p>")
    with folder.upload() as upload:
        upload.take().archive.write_bytes(b"half of an archive")
    home = tmp_path / "evaluations"
    (home / JOB.id / "job.json.new").write_bytes(b"half of a")
    (home / "fedcba9876543210").mkdir()
    folder.close()
    folder = JobFolder(tmp_path)
    assert list(folder.jobs()) == [JOB]
    assert (folder.result(JOB.id), folder.report(JOB.id)) == (b"{}", b"<p>")
    assert {path.name for path in home.rglob("*")} == {JOB.id, "lock", "job.json", "result.json", "report.html"}
    folder.close()


def test_an_upload_goes_unless_it_is_taken(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    with folder.upload() as upload:
        upload.archive.write_bytes(b"1")
    assert not upload.archive.exists()
    with folder.upload() as upload:
        upload.take().archive.write_bytes(b"1")
    assert upload.archive.exists()
    upload.remove()
    assert not upload.archive.parent.exists()


def test_a_damaged_job_is_left_out(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    folder.save(JOB)
    (tmp_path / "evaluations" / JOB.id / "job.json").write_text('{"id": 3')
    assert list(folder.jobs()) == []


def test_a_second_server_is_kept_out(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    with pytest.raises(StorageError, match="another server"):
        JobFolder(tmp_path)
    folder.close()
    JobFolder(tmp_path).close()
