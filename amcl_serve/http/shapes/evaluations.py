"""The shapes of evaluations."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from amcl_serve.http.shapes.base import Shape
from amcl_serve.jobs.job import Job

ProtocolName = Literal["auto", "label_free", "labelled", "verification"]


class EvaluationOptions(Shape):
    """What is asked of an evaluation, whatever its images are; the text fields of a form."""

    protocol: ProtocolName = Field(
        "auto", description="auto: verification of pairs, labelled with labels, else label_free"
    )
    labels: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        None, description="of a collection: the key of the payloads; an archive's are its folders"
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(0, description="of all that is drawn at random")
    limit: Annotated[int, Field(ge=2, le=100_000)] | None = Field(
        None, description="images that are looked at, at most; null: the protocol's own number"
    )
    model: str | None = Field(None, description="a loaded model; null: the first")
    against: str | None = Field(None, description="another loaded model, to compare it with")


class EvaluationRequest(EvaluationOptions):
    """Body of POST /evaluations in JSON: of a collection."""

    collection: str


class EvaluationAnswer(Job):
    """Answer of GET /evaluations/{id}."""

    result: dict[str, Any] | None = Field(description="what it found; null where it is not done")


class EvaluationList(BaseModel):
    """Answer of GET /evaluations."""

    data: list[Job] = Field(description="the newest first")


class EvaluationEnd(BaseModel):
    """Answer of DELETE /evaluations/{id}."""

    outcome: Literal["cancelled", "removed", "absent"] = Field(
        description="`cancelled`: it had not ended, and is kept; `removed`: it had; `absent`: there is none"
    )
