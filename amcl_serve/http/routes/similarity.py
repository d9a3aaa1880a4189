"""POST /similarity: how alike two images are, in pairs or every a with every b."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from anyio import to_thread
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from amcl_serve.engine.submissions import Embedded, stack
from amcl_serve.errors import AmclError, InvalidRequest
from amcl_serve.http.input import read_similarity
from amcl_serve.http.output import failed, timed_json
from amcl_serve.http.routes.embed import embed_images
from amcl_serve.http.shapes.schemas import CrossAnswer, Mode, Name, PairsAnswer
from amcl_serve.http.state import metrics_of, model_of, settings_of
from amcl_serve.model.pair_scorer import PairScorer, PairScores

router = APIRouter(tags=["similarity"])

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
        "multipart/form-data": _FORM,
        "application/json": {"schema": {"$ref": "#/components/schemas/SimilarityRequest"}},
    },
}


@router.post(
    "/similarity",
    summary="Score pairs of images",
    response_model=PairsAnswer | CrossAnswer,
    responses={200: {"description": "The scores"}},
    openapi_extra={"requestBody": BODY},
)
async def similarity(
    request: Request,
    mode: Annotated[Mode | None, Query(description="unless the body says it")] = None,
    name: Annotated[Name | None, Query(alias="model", description="unless the body says it")] = None,
) -> Response:
    """Score a₁b₁, a₂b₂, … (`mode=pairs`) or every a with every b (`mode=cross`).

    A pair with a bad image carries its own `error`; the error of a single pair is the response.
    """
    found = await read_similarity(request, max_items=settings_of(request).max_items)
    model = model_of(request, found.options.model or name)
    chosen = found.options.mode or mode or "pairs"
    split = len(found.a)
    if chosen == "pairs" and split != len(found.b):
        raise InvalidRequest(
            f"mode pairs needs as many `a` as `b`, there are {split} and {len(found.b)}; "
            "every a with every b is mode cross"
        )
    result = await embed_images(request, model, [*found.a, *found.b])
    a, b = result.items[:split], result.items[split:]
    metrics = metrics_of(request)
    for side, items in (("a", a), ("b", b)):
        for item in items:
            if isinstance(item, AmclError):
                if len(a) == len(b) == 1:
                    raise type(item)(f"{side}: {item.detail}")
                metrics.rejected.labels(item.code).inc()
    score = _pairs if chosen == "pairs" else _cross
    answer = await to_thread.run_sync(score, model.scorer, a, b)
    head = {"model": model.name, "digest": model.bundle.digest, "mode": chosen}
    return timed_json(head | answer, result.timing, metrics)


def _pairs(scorer: PairScorer, a: Sequence[Item], b: Sequence[Item]) -> dict[str, Any]:
    """`data` of mode pairs."""
    good = [(x, y) for x, y in zip(a, b, strict=True) if isinstance(x, Embedded) and isinstance(y, Embedded)]
    scored = iter(_scores(scorer.score(stack([x for x, _ in good]), stack([y for _, y in good]))) if good else [])
    data = []
    for index, (x, y) in enumerate(zip(a, b, strict=True)):
        if isinstance(x, AmclError):
            data.append({"index": index, "error": failed(x, "a: ")})
        elif isinstance(y, AmclError):
            data.append({"index": index, "error": failed(y, "b: ")})
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
