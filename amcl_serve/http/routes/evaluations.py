"""/evaluations: what a model is worth on somebody's images, as jobs beside the requests."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import Request
from starlette.responses import HTMLResponse, Response

from amcl_serve.errors import (
    CollectionNotFound,
    EvaluationNotFound,
    EvaluationUnfinished,
    InvalidRequest,
    ModelNotFound,
    NotReady,
    StorageFull,
    TooManyEvaluations,
)
from amcl_serve.evaluation.dataset import Dataset
from amcl_serve.evaluation.stored import stored
from amcl_serve.http.about import about, routes
from amcl_serve.http.calls import call
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.reading import body as bodies
from amcl_serve.http.reading.upload import ARCHIVE, FORM_FIELD, save_archive
from amcl_serve.http.server import Server, server_of
from amcl_serve.http.shapes.evaluations import (
    EvaluationAnswer,
    EvaluationEnd,
    EvaluationList,
    EvaluationOptions,
    EvaluationRequest,
)
from amcl_serve.jobs.archives import open_upload, protocol_of
from amcl_serve.jobs.collection import CollectionImages
from amcl_serve.jobs.evaluations import Asked
from amcl_serve.jobs.folder import Upload
from amcl_serve.jobs.job import Job

router = routes("/evaluations", tag="evaluations")

# A report holds what strangers named: it may show its own pictures and style, and do nothing.
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'self'; sandbox"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_TEXT = {"schema": {"type": "string"}}
_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"description": "The job, which waits for its turn", "headers": {"location": _TEXT}}
}
_PAGE: dict[int | str, dict[str, Any]] = {
    200: {"description": "One page that loads nothing", "headers": dict.fromkeys(_HEADERS, _TEXT)}
}
_BODY = {
    "required": True,
    "content": {
        bodies.JSON: {"schema": {"$ref": "#/components/schemas/EvaluationRequest"}},
        bodies.MULTIPART: {
            "schema": {
                "type": "object",
                "required": [ARCHIVE],
                "properties": {ARCHIVE: FORM_FIELD, **EvaluationOptions.model_json_schema()["properties"]},
            }
        },
    },
}


@router.post(
    "",
    summary="Begin an evaluation",
    status_code=202,
    response_model=Job,
    responses=_ACCEPTED,
    openapi_extra={"requestBody": _BODY},
)
@about(
    Access.WRITE,
    NotReady,
    ModelNotFound,
    CollectionNotFound,
    TooManyEvaluations,
    StorageFull,
    body=EvaluationRequest,
    upload=True,
)
async def begin(request: Request) -> Response:
    """Evaluate a loaded model on the images of a collection (JSON) or of an archive (a form with `archive`).

    One runs at a time, beside the requests and behind them; others wait for their turn.
    """
    server = server_of(request)
    jobs, kind = server.jobs, bodies.media_type(request.scope)
    with jobs.place():
        if kind == bodies.JSON:
            asked = (await bodies.read_json(request.receive, EvaluationRequest))[0]
            _check(server, asked)
            images: Dataset = await call(server, _collection, server, asked)
            if asked.against is not None and stored(images) is not None:
                raise InvalidRequest("against: a second model needs pictures, and the collection has vectors alone")
            job = await _submit(server, asked, images, None)
        elif kind == bodies.MULTIPART:
            with jobs.upload() as upload:
                name, options = await save_archive(request, upload.archive, EvaluationOptions)
                _check(server, options)
                if options.labels is not None:
                    raise InvalidRequest("labels: of an archive they are the names of its folders; leave it out")
                images = await call(server, open_upload, upload, name, server.settings.max_archive_bytes)
                job = await _submit(server, options, images, upload)
        else:
            raise bodies.unsupported(kind, f"this route reads {bodies.JSON} and {bodies.MULTIPART}")
    location = f"{request.scope.get('root_path', '').rstrip('/')}/evaluations/{job.id}"
    return Response(job.model_dump_json(), 202, {"location": location}, media_type=bodies.JSON)


@router.get("", summary="Evaluations", response_model=EvaluationList)
@about(Access.READ, NotReady)
async def evaluations(request: Request) -> EvaluationList:
    """Those that run, wait, or are kept; the newest first."""
    return EvaluationList(data=server_of(request).jobs.all())


@router.get("/{id}", summary="An evaluation", response_model=EvaluationAnswer)
@about(Access.READ, NotReady, EvaluationNotFound)
async def evaluation(request: Request, id: str) -> Response:  # noqa: A002 - the path's name, as below
    """How far it is and, when it is done, what it found."""
    server = server_of(request)
    job, result = server.jobs.get(id), await call(server, server.jobs.result, id)
    answer = job.model_dump() | {"result": None if result is None else orjson.Fragment(result)}
    return Response(orjson.dumps(answer), media_type=bodies.JSON)


@router.get("/{id}/report", summary="The report of an evaluation", response_class=HTMLResponse, responses=_PAGE)
@about(Access.READ, NotReady, EvaluationNotFound, EvaluationUnfinished)
async def report(request: Request, id: str) -> Response:  # noqa: A002
    """One page, to be read here or kept."""
    server = server_of(request)
    return HTMLResponse(await call(server, server.jobs.report, id), headers=_HEADERS)


@router.delete("/{id}", summary="Cancel or remove an evaluation", response_model=EvaluationEnd)
@about(Access.WRITE, NotReady)
async def end(request: Request, id: str) -> EvaluationEnd:  # noqa: A002
    """Cancel one that has not ended, which is kept as `cancelled`; remove one that has, with its report."""
    server = server_of(request)
    return EvaluationEnd(outcome=await call(server, server.jobs.end, id))


def _check(server: Server, asked: EvaluationOptions) -> None:
    """The models are there; before anything is read for them."""
    model = server.models.get(asked.model)
    if asked.against is not None and server.models.get(asked.against) is model:
        raise InvalidRequest(f"against: {model.name} is the model itself; name another that is loaded")


def _collection(server: Server, asked: EvaluationRequest) -> Dataset:
    settings = server.settings
    return CollectionImages(
        server.collections,
        asked.collection,
        labels=asked.labels,
        limit=asked.limit,
        seed=asked.seed,
        root=settings.image_root,
        max_bytes=settings.max_body_bytes,
    )


async def _submit(server: Server, asked: EvaluationOptions, images: Dataset, upload: Upload | None) -> Job:
    models = server.models
    model = models.get(asked.model)
    against = None if asked.against is None else models.get(asked.against)
    protocol = protocol_of(images, asked.protocol, seed=asked.seed, limit=asked.limit)
    what = Asked(images, protocol, model, against, asked.labels, asked.seed, asked.limit, upload)
    return await call(server, server.jobs.submit, what)
