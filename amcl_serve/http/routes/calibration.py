"""/models/{name}/calibrate: what a score is worth on somebody's own pairs, and the way back."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import asdict

from fastapi import Request

from amcl_serve.errors import BadRequest, InvalidRequest, ModelBusy, ModelNotFound, NotReady, StorageFull
from amcl_serve.http.about import about, routes
from amcl_serve.http.calls import call
from amcl_serve.http.guards.disconnect import unless_gone
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.reading import body as bodies
from amcl_serve.http.reading.upload import ARCHIVE, FORM_FIELD, save_archive
from amcl_serve.http.server import server_of
from amcl_serve.http.shapes.calibration import CalibrateOptions, CalibrationAnswer, CalibrationUndone, ThresholdAnswer
from amcl_serve.jobs.calibrating import Cost, Rate

router = routes("/models", tag="models")

_BODY = {
    "required": True,
    "content": {
        bodies.MULTIPART: {
            "schema": {
                "type": "object",
                "required": [ARCHIVE],
                "properties": {ARCHIVE: FORM_FIELD, **CalibrateOptions.model_json_schema()["properties"]},
            }
        }
    },
}


@router.post("/{name}/calibrate", summary="Calibrate a model to your pairs", openapi_extra={"requestBody": _BODY})
@about(Access.WRITE, NotReady, BadRequest, ModelNotFound, ModelBusy, StorageFull, upload=True)
async def calibrate(request: Request, name: str) -> CalibrationAnswer:
    """Fit the pair score's calibration to one half of an archive's pairs and measure it on the other.

    `probability` and `same` follow it from then on, also after a restart. The bundle is not written to.
    """
    server = server_of(request)
    model, calibrator = server.models.get(name), server.calibrator
    if (kind := bodies.media_type(request.scope)) != bodies.MULTIPART:
        raise bodies.unsupported(kind, f"this route reads {bodies.MULTIPART} with a file {ARCHIVE!r}")
    with calibrator.place(), server.jobs.upload() as upload:
        dataset, options = await save_archive(request, upload.archive, CalibrateOptions)
        left = threading.Event()
        work = asyncio.ensure_future(
            call(server, calibrator.fit, model, upload, dataset, _wanted(options), options.seed, left)
        )
        try:
            own, found = await unless_gone(request.receive, asyncio.shield(work))
        finally:  # what it reads goes after it has ended
            left.set()
            with contextlib.suppress(Exception):
                await work
    return CalibrationAnswer(
        **own.model_dump(), left_out=found.left_out, threshold=ThresholdAnswer.model_validate(asdict(found.threshold))
    )


@router.delete("/{name}/calibration", summary="Undo a model's calibration")
@about(Access.WRITE, NotReady, ModelNotFound)
async def undo(request: Request, name: str) -> CalibrationUndone:
    """Let the model's card say again what a score is worth. Where nothing was calibrated, nothing changes."""
    server = server_of(request)
    model = server.models.get(name)
    had = await call(server, server.calibrator.undo, model)
    return CalibrationUndone(outcome="removed" if had else "absent", calibration=model.scorer.calibration)


def _wanted(options: CalibrateOptions) -> Rate | Cost | None:
    rate, costs = options.false_accept_rate, (options.false_accept_cost, options.false_reject_cost)
    if rate is not None and costs != (None, None):
        raise InvalidRequest("a threshold is chosen by false_accept_rate or by costs, not by both")
    if rate is not None:
        return Rate(rate)
    if costs == (None, None):
        return None
    if costs[0] is None or costs[1] is None:
        raise InvalidRequest("false_accept_cost and false_reject_cost go together: only their ratio counts")
    return Cost(costs[0], costs[1])
