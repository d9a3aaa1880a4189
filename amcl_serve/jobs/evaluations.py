"""Evaluations: a bounded queue, one thread that works on one at a time, and a bounded number that are kept.

    queued ──▶ running ──▶ done | failed | cancelled
       └──────────┴──────▶ interrupted, when the server ends, however it does

What a status says is on the disk before anybody is told. Nothing waits for the disk with the lock held: the event loop
takes it too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from amcl_serve.errors import AmclError, EvaluationNotFound, EvaluationUnfinished, NotReady, TooManyEvaluations
from amcl_serve.evaluation import runner
from amcl_serve.evaluation.dataset import Dataset
from amcl_serve.evaluation.progress import Cancelled
from amcl_serve.evaluation.report.files import as_json
from amcl_serve.evaluation.report.page import page
from amcl_serve.evaluation.stored import StoredVectors, stored
from amcl_serve.hosting.registry import LoadedModel, Registry
from amcl_serve.jobs.embedder import EngineEmbedder
from amcl_serve.jobs.folder import JobFolder, Upload
from amcl_serve.jobs.job import Failure, Job, Stage, Status
from amcl_serve.settings import Settings

log = logging.getLogger("amcl_serve")

WAITING = 4  # evaluations that wait for their turn, those whose archive is on its way included
_FAILED = Failure(code=AmclError.code, detail="the server failed; its log says why")

Outcome = Literal["cancelled", "removed", "absent"]


@dataclass(frozen=True)
class Asked:
    """What an evaluation is to be of; `upload` goes when it ends."""

    dataset: Dataset
    protocol: runner.Protocol
    model: LoadedModel
    against: LoadedModel | None = None
    labels: str | None = None
    seed: int = 0
    limit: int | None = None
    upload: Upload | None = None


@dataclass
class _Task:
    """A job that has not ended."""

    asked: Asked
    told: Status | None = None  # how it is to end, where somebody wants it to
    progress: Stage = field(default_factory=lambda: Stage(stage="waiting", done=0, total=0))


class Evaluations:
    """All methods may be called from any thread; those that write take as long as the disk does."""

    def __init__(
        self, folder: JobFolder, models: Registry, settings: Settings, on_end: Callable[[Status], None] | None = None
    ) -> None:
        """`on_end` is told how each ends."""
        self._on_end = on_end
        self._folder = folder
        self._models = models
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = threading.Condition()
        self._tasks: dict[str, _Task] = {}
        self._queue: deque[str] = deque()
        self._coming = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="evaluations", daemon=True)
        self._jobs = {job.id: job for job in sorted(folder.jobs(), key=lambda job: (job.created, job.id))}
        for job in list(self._jobs.values()):
            if job.open:
                self._end(job, "interrupted")

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to work, on the engines that answer on `loop`; once."""
        self._loop = loop
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End what is under way, waiting for `seconds` at most; every job then has a final status on the disk."""
        with self._changed:
            self._stopping = True
            for task in self._tasks.values():
                task.told = task.told or "interrupted"
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        for name, task in list(self._tasks.items()):  # what waited, and what does not hear
            self._finish(name, task.told or "interrupted")
        self._folder.close()

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Room in the queue while an archive comes; TooManyEvaluations where there is none."""
        with self._changed:
            if self._stopping:
                raise NotReady("the server is stopping; try again soon")
            if len(self._queue) + self._coming >= WAITING:
                raise TooManyEvaluations(
                    f"{WAITING} evaluations wait for their turn; try again when one has ended, or cancel one"
                )
            self._coming += 1
        try:
            yield
        finally:
            with self._changed:
                self._coming -= 1

    def upload(self) -> contextlib.AbstractContextManager[Upload]:
        """A place for an archive; it goes with the block unless the job that is made of it keeps it."""
        return self._folder.upload()

    def submit(self, asked: Asked) -> Job:
        """Let it wait for its turn; called within `place`."""
        against, kept = asked.against, stored(asked.dataset)
        job = Job(
            id=secrets.token_hex(8),
            created=_now(),
            model=asked.model.name if kept is None else kept.about.name,
            digest=asked.model.bundle.digest if kept is None else kept.about.digest,
            against=None if against is None else against.name,
            against_digest=None if against is None else against.bundle.digest,
            dataset=asked.dataset.name,
            images=len(asked.dataset.names),
            protocol=asked.protocol.name,
            labels=asked.labels,
            seed=asked.seed,
            limit=asked.limit,
        )
        self._folder.save(job)
        with self._changed:
            stopping = self._stopping
            if not stopping:
                self._jobs[job.id] = job
                self._tasks[job.id] = _Task(asked)
                if asked.upload is not None:
                    asked.upload.take()
                self._queue.append(job.id)
                self._changed.notify_all()
        if stopping:
            self._folder.remove(job.id)
            raise NotReady("the server is stopping; try again soon")
        self._forget_oldest()
        return job

    def all(self) -> list[Job]:
        """Those that are kept, the newest first."""
        return [self._as_it_stands(job) for job in reversed(list(self._jobs.values()))]

    def get(self, name: str) -> Job:
        """One; EvaluationNotFound."""
        if name not in self._jobs:
            raise EvaluationNotFound(f"there is no evaluation {name[:64]!r}; it may have been removed for newer ones")
        return self._as_it_stands(self._jobs[name])

    def result(self, name: str) -> bytes | None:
        """What one found, as JSON; None where it is not done."""
        job = self.get(name)
        return self._folder.result(name) if job.status == "done" else None

    def report(self, name: str) -> bytes:
        """Its page; EvaluationUnfinished where it is not done."""
        job = self.get(name)
        if job.status != "done":
            raise EvaluationUnfinished(f"the evaluation is {job.status}: it has no report")
        return self._folder.report(name)

    def end(self, name: str) -> Outcome:
        """Cancel one that has not ended, which is kept; remove one that has; again is no error."""
        with self._changed:
            job, task = self._jobs.get(name), self._tasks.get(name)
            if job is None:
                return "absent"
            if not job.open:
                del self._jobs[name]
            waits = name in self._queue
            if waits:
                self._queue.remove(name)
            if task is not None:
                task.told = task.told or "cancelled"
        if not job.open:
            self._folder.remove(name)
            return "removed"
        if waits:
            self._finish(name, "cancelled")
        return "cancelled"

    def running(self) -> int:
        """How many are worked on: 0 or 1."""
        return sum(job.status == "running" for job in list(self._jobs.values()))

    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._queue)

    def _as_it_stands(self, job: Job) -> Job:
        task = self._tasks.get(job.id)
        return job if task is None else job.model_copy(update={"progress": task.progress})

    def _end(self, job: Job, status: Status, error: Failure | None = None) -> None:
        """Give a job its last status; where that cannot be written, the next start will say that it was interrupted."""
        ended = job.model_copy(update={"status": status, "ended": _now(), "error": error})
        try:
            self._folder.save(ended)
        except (AmclError, OSError):
            log.exception("the status of evaluation %s cannot be written", job.id)
        self._jobs[job.id] = ended
        if self._on_end is not None:
            self._on_end(status)

    def _finish(self, name: str, status: Status, error: Failure | None = None) -> None:
        """As `_end`, of a job with a task, whose upload goes; nothing for one that somebody else is ending."""
        with self._changed:
            task = self._tasks.pop(name, None)
        if task is None:
            return
        if task.asked.upload is not None:
            task.asked.upload.remove()
        self._end(self._jobs[name].model_copy(update={"progress": task.progress}), status, error)
        log.info("evaluation %s of %s: %s", name, self._jobs[name].model, status)

    def _forget_oldest(self) -> None:
        """Keep as many as the settings say; those that have not ended stay."""
        with self._changed:
            ended = [job.id for job in self._jobs.values() if not job.open]
            oldest = ended[: max(0, len(self._jobs) - self._settings.max_evaluations)]
            for name in oldest:
                del self._jobs[name]
        for name in oldest:
            self._folder.remove(name)

    def _serve(self) -> None:
        """The thread."""
        with contextlib.suppress(OSError):  # what answers requests goes first
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._stopping)
                if self._stopping:
                    return
                name = self._queue.popleft()
                task = self._tasks[name]
            self._finish(name, *self._outcome(name, task))

    def _outcome(self, name: str, task: _Task) -> tuple[Status, Failure | None]:
        """Work on a job; how it ended, whatever that is."""
        try:
            self._work(name, task)
        except Cancelled:
            return task.told or "cancelled", None
        except AmclError as error:
            return "failed", Failure(code=error.code, detail=error.detail)
        except Exception:
            log.exception("evaluation %s failed", name)
            return "failed", _FAILED
        return "done", None

    def _work(self, name: str, task: _Task) -> None:
        def check() -> None:
            if task.told is not None:
                raise Cancelled

        def progress(stage: str, done: int, total: int) -> None:
            check()
            task.progress = Stage(stage=stage, done=done, total=total)

        assert self._loop is not None
        asked, others = task.asked, (self._models, self._settings, self._loop, check)
        job = self._jobs[name].model_copy(update={"status": "running", "started": _now()})
        self._folder.save(job)
        self._jobs[name] = job
        kept = stored(asked.dataset)
        model = EngineEmbedder(asked.model, *others) if kept is None else StoredVectors(kept)
        against = None if asked.against is None else EngineEmbedder(asked.against, *others)
        result = runner.run(asked.dataset, model, asked.protocol, progress, against=against)
        check()
        self._folder.keep(name, as_json(result), page(result).encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
