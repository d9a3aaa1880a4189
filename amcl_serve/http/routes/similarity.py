"""POST /similarity: how alike two images are, in pairs or every a with every b."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from amcl_serve.engine.submissions import Embedded, stack
from amcl_serve.errors import AmclError, InvalidRequest, ModelNotFound
from amcl_serve.http.about import about, routes
from amcl_serve.http.answers.output import failed, timed_json
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.reading import body
from amcl_serve.http.reading.images import Image, at, embed_images, fault, from_texts
from amcl_serve.http.server import server_of
from amcl_serve.http.shapes.similarity import (
    CrossAnswer,
    PairsAnswer,
    PointRef,
    SimilarityOptions,
    SimilarityQuery,
    SimilarityRequest,
)
from amcl_serve.model.pair_scorer import PairScorer, PairScores

router = routes(tag="similarity", plain=True)

Item = Embedded | AmclError
_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "required": ["a", "b"],
        "properties": {"a": _FILES, "b": _FILES, "mode": {"enum": ["pairs", "cross"]}, "model": {"type": "string"}},
    }
}
BODY = {
    "required": True,
    "content": {
        body.MULTIPART: _FORM,
        body.JSON: {"schema": {"$ref": "#/components/schemas/SimilarityRequest"}},
    },
}


@router.post(
    "/similarity",
    summary="Score pairs of images",
    response_model=PairsAnswer | CrossAnswer,
    responses={200: {"description": "The scores"}},
    openapi_extra={"parameters": body.documented(SimilarityQuery), "requestBody": BODY},
)
@about(Access.READ, ModelNotFound, images=True, body=SimilarityRequest)
async def similarity(request: Request) -> Response:
    """Score a₁b₁, a₂b₂, … (`mode=pairs`) or every a with every b (`mode=cross`).

    A pair with a bad image carries its own `error`; the error of a single pair is the response.
    """
    server = server_of(request)
    asked = body.query(SimilarityQuery, request)
    a, b, options = await _read(request, server.settings.max_items)
    mode = options.mode or asked.mode or "pairs"
    if mode == "pairs" and len(a) != len(b):
        raise InvalidRequest(
            f"mode pairs needs as many `a` as `b`, there are {len(a)} and {len(b)}; every a with every b is mode cross"
        )
    with server.models.use(options.model or asked.model) as model:
        found = await embed_images(model.engine, [*a, *b], request.receive)
        sides = {"a": found.items[: len(a)], "b": found.items[len(a) :]}
        bad = [
            (s, i, item) for s, items in sides.items() for i, item in enumerate(items) if isinstance(item, AmclError)
        ]
        if bad and len(a) == len(b) == 1:
            side, _, first = bad[0]
            raise type(first)(f"{side}: {first.detail}", [fault(*each) for each in bad])
        server.metrics.images_rejected(found.items)
        score = _pairs if mode == "pairs" else _cross
        scores = await to_thread.run_sync(score, model.scorer, sides["a"], sides["b"])
    answer = {"model": model.name, "digest": model.bundle.digest, "mode": mode} | scores
    return timed_json(answer, found.timing, server.metrics)


async def _read(request: Request, limit: int) -> tuple[list[Image], list[Image], SimilarityOptions]:
    """Both operands, at most `limit` images each, and what the body says of them."""
    kind = body.media_type(request.scope)
    sides: dict[str, list[Image]] = {}
    options: SimilarityOptions
    if kind == body.MULTIPART:
        says = f"at most {limit} images in `a` and in `b`"
        form = await body.read_form(request, ("a", "b"), 2 * limit, says)
        sides |= {name: list(found) for name, found in form.files.items()}
        options = body.options(SimilarityOptions, form.fields)
    elif kind == body.JSON:
        given, size = await body.read_json(request.receive, SimilarityRequest)
        body.check_count(max(len(given.a), len(given.b)), limit, "images in `a` or `b`")
        for name, operands in (("a", given.a), ("b", given.b)):
            sides[name] = await body.away(size, from_texts, _texts(operands, name), name)
        options = given
    else:
        raise body.unsupported(kind, f"this route reads {body.MULTIPART} or {body.JSON}, with `a` and `b`")
    a, b = sides["a"], sides["b"]
    body.check_count(max(len(a), len(b)), limit, "images in `a` or `b`")
    if not a or not b:
        raise InvalidRequest(f"`a` has {len(a)} images and `b` has {len(b)}; each needs at least one")
    return a, b, options


def _texts(operands: Sequence[str | PointRef], name: str) -> list[str]:
    """The operands, none of which may be a stored point yet."""
    for index, operand in enumerate(operands):
        if isinstance(operand, PointRef):
            error = InvalidRequest(
                "a stored point has features but no heads, which a pair's score needs: send its image"
            )
            raise at(error, name, index, f"{name}[{index}]")
    return [operand for operand in operands if isinstance(operand, str)]


def _pairs(scorer: PairScorer, a: Sequence[Item], b: Sequence[Item]) -> dict[str, Any]:
    """`data` of mode pairs."""
    good = [(x, y) for x, y in zip(a, b, strict=True) if isinstance(x, Embedded) and isinstance(y, Embedded)]
    scored = iter(_scores(scorer.score(stack([x for x, _ in good]), stack([y for _, y in good]))) if good else [])
    data = []
    for index, (x, y) in enumerate(zip(a, b, strict=True)):
        if isinstance(x, AmclError):
            data.append({"index": index, "error": failed(x) | {"operand": "a"}})
        elif isinstance(y, AmclError):
            data.append({"index": index, "error": failed(y) | {"operand": "b"}})
        else:
            data.append({"index": index} | next(scored))
    return {"data": data}


def _scores(scores: PairScores) -> list[dict[str, Any]]:
    columns = {name: getattr(scores, name) for name in PairScores.__dataclass_fields__}
    rows = range(len(scores.score))
    return [{name: None if column is None else column[row] for name, column in columns.items()} for row in rows]


def _cross(scorer: PairScorer, a: Sequence[Item], b: Sequence[Item]) -> dict[str, Any]:
    """`data` and `errors` of mode cross."""
    good_a, good_b = [[index for index, item in enumerate(items) if isinstance(item, Embedded)] for items in (a, b)]
    # Without one good image on either side every entry is null, `probability` too.
    matrices: dict[str, Any] = dict.fromkeys(
        ("feature_similarity", "score", "probability"), np.empty((0, 0), np.float32)
    )
    if good_a and good_b:
        sides = [stack([item for item in items if isinstance(item, Embedded)]) for items in (a, b)]
        scores = scorer.cross(*sides)
        matrices = {name: getattr(scores, name) for name in matrices}
    else:
        good_a, good_b = [], []
    data = {
        name: None if matrix is None else _spread(matrix, good_a, good_b, (len(a), len(b)))
        for name, matrix in matrices.items()
    }
    errors = [
        {"operand": side, "index": index, "error": failed(item)}
        for side, items in (("a", a), ("b", b))
        for index, item in enumerate(items)
        if isinstance(item, AmclError)
    ]
    return {"data": data, "errors": errors}


def _spread(
    matrix: npt.NDArray[np.float32], rows: list[int], columns: list[int], shape: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """`matrix` at the given rows and columns of a larger one that is NaN (null in JSON) elsewhere."""
    spread = np.full(shape, np.nan, np.float32)
    spread[np.ix_(rows, columns)] = matrix
    return spread
