"""The folder of the evaluations: one folder a job, and what was uploaded for those that have not ended.

ID/job.json       the job, written anew whenever its status changes
ID/result.json    of one that is done
ID/report.html
incoming/NAME/    an archive, and its images; gone with the job's end, and with the server's
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from amcl_serve.errors import StorageError
from amcl_serve.hosting.files import UNFINISHED, full_disk_said, sync_names, write_whole
from amcl_serve.jobs.job import Job

log = logging.getLogger("amcl_serve")

NAME = "evaluations"  # in the data folder
_INCOMING, _LOCK = "incoming", "lock"
_JOB, _RESULT, _REPORT = "job.json", "result.json", "report.html"
_ID = re.compile("[0-9a-f]{16}")


class JobFolder:
    """Made where there is none, claimed by this process, and tidied: nothing of a run that was killed stays."""

    def __init__(self, data_dir: Path) -> None:
        """Raises StorageError where it is in use or cannot be used."""
        self._folder = data_dir / NAME
        self._lock = -1
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._tidy()
        except OSError as error:
            self.close()
            why = "another server uses it" if isinstance(error, BlockingIOError) else error.strerror
            raise StorageError(
                f"the folder {self._folder} cannot be used ({why}); make it writable or choose another data_dir"
            ) from None

    def _tidy(self) -> None:
        shutil.rmtree(self._folder / _INCOMING, ignore_errors=True)
        for path in self._folder.iterdir():
            if path.is_dir() and _ID.fullmatch(path.name) and not (path / _JOB).is_file():
                shutil.rmtree(path, ignore_errors=True)  # killed before its first line was written
        for unfinished in self._folder.glob(f"*/*{UNFINISHED}"):
            unfinished.unlink(missing_ok=True)

    def close(self) -> None:
        """Let the folder go; again is no error."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def jobs(self) -> Iterator[Job]:
        """Those that are kept, in no order; what cannot be read is told in the log and left out."""
        for path in self._folder.glob(f"*/{_JOB}"):
            try:
                job = Job.model_validate_json(path.read_bytes())
            except (OSError, ValidationError):
                log.warning("the evaluation %s cannot be read and is left out", path.parent.name)
                continue
            if job.id == path.parent.name:
                yield job

    def save(self, job: Job) -> None:
        """Write it down; StorageFull where there is no room."""
        folder = self._folder / job.id
        with full_disk_said():
            if not folder.is_dir():
                folder.mkdir()
                sync_names(self._folder)
        write_whole(folder / _JOB, job.model_dump_json(indent=1).encode())

    def keep(self, name: str, result: bytes, report: bytes) -> None:
        """Write down what the job of that id found; StorageFull where there is no room."""
        write_whole(self._folder / name / _RESULT, result)
        write_whole(self._folder / name / _REPORT, report)

    def result(self, name: str) -> bytes:
        """JSON of a job that is done; OSError where it is gone."""
        return (self._folder / name / _RESULT).read_bytes()

    def report(self, name: str) -> bytes:
        """HTML of a job that is done; OSError where it is gone."""
        return (self._folder / name / _REPORT).read_bytes()

    def remove(self, name: str) -> None:
        """Remove all of a job; again is no error."""
        shutil.rmtree(self._folder / name, ignore_errors=True)

    @contextlib.contextmanager
    def upload(self) -> Iterator[Upload]:
        """A folder of its own for an upload, which goes with the block unless somebody takes it over."""
        path = self._folder / _INCOMING / secrets.token_hex(8)
        with full_disk_said():
            path.mkdir(parents=True)
        upload = Upload(path)
        try:
            yield upload
        finally:
            if not upload.taken:
                upload.remove()


class Upload:
    """What somebody sent: `archive`, and the folder `images` for what is in it."""

    def __init__(self, path: Path) -> None:
        self.archive = path / "archive"
        self.images = path / "images"
        self.taken = False
        self._path = path

    def take(self) -> Upload:
        """Keep it until `remove`."""
        self.taken = True
        return self

    def remove(self) -> None:
        """Remove all of it; again is no error."""
        shutil.rmtree(self._path, ignore_errors=True)
