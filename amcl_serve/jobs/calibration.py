"""Calibrator: calibrates a loaded model to an uploaded archive of pairs, keeps that, and undoes it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

from amcl_serve.errors import ModelBusy
from amcl_serve.evaluation.progress import Cancelled
from amcl_serve.hosting import calibrations
from amcl_serve.hosting.calibrations import OwnCalibration
from amcl_serve.hosting.registry import LoadedModel, Registry
from amcl_serve.jobs.archives import open_upload
from amcl_serve.jobs.calibrating import Cost, Fitted, Rate, calibrate
from amcl_serve.jobs.embedder import EngineEmbedder
from amcl_serve.jobs.folder import Upload
from amcl_serve.settings import Settings

log = logging.getLogger("amcl_serve")


class Calibrator:
    """One at a time, through the engines that answer on `loop`."""

    def __init__(self, models: Registry, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self._models = models
        self._settings = settings
        self._loop = loop
        self._busy = False

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """For one calibration, its upload included; ModelBusy while there is another. On the event loop."""
        if self._busy:
            raise ModelBusy("a model of this server is being calibrated; try again when that has ended")
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def fit(
        self,
        model: LoadedModel,
        upload: Upload,
        name: str,
        wanted: Rate | Cost | None,
        seed: int,
        left: threading.Event,
    ) -> tuple[OwnCalibration, Fitted]:
        """In a thread, within `place`: fit to the upload, which was called `name`, and let the model follow that.

        Raises Cancelled once `left` is set, and what reading the archive and fitting raise; then nothing has changed.
        """

        def check() -> None:
            if left.is_set():
                raise Cancelled

        with upload.archive.open("rb") as stream:
            data_digest = "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
        dataset = open_upload(upload, name, limit=self._settings.max_archive_bytes)
        embedder = EngineEmbedder(model, self._models, self._settings, self._loop, check)
        before = model.scorer.calibration
        found = calibrate(dataset, embedder, lambda *_: check(), before=before, wanted=wanted, seed=seed)
        own = OwnCalibration(
            calibration=found.calibration,
            model=model.name,
            digest=model.bundle.digest,
            precision=model.encoder.precision,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            dataset=name,
            data_digest=data_digest,
            seed=seed,
            fitted=found.fitted,
            held_out=found.held_out,
            before=found.before,
            after=found.after,
        )
        check()
        calibrations.keep(self._settings.data_dir, own)
        model.scorer.calibration = own.calibration
        log.info("model %s is calibrated to %d pairs of %s", model.name, own.fitted, data_digest)
        return own, found

    def undo(self, model: LoadedModel) -> bool:
        """Let the model say what its card says; whether it said something else."""
        had = calibrations.forget(self._settings.data_dir, model.bundle.digest)
        model.scorer.calibration = model.bundle.card.calibration
        return had

    def own(self, model: LoadedModel) -> OwnCalibration | None:
        """What is kept of a model, if anything is."""
        return calibrations.kept(self._settings.data_dir, model.bundle.digest)
