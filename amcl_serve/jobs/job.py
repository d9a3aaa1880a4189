"""Job: an evaluation as it stands, whole enough to be written down and read again after a restart."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
OPEN: tuple[Status, ...] = ("queued", "running")  # all others are final


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stage(_Part):
    """How far it is."""

    stage: str = Field(description="what is done now, such as `embedding`")
    done: int = Field(description="steps of the stage")
    total: int


class Failure(_Part):
    """Why it failed: what an error of the API would say."""

    code: str
    detail: str


class Job(_Part):
    """An evaluation: what was asked, and how far it is."""

    id: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    status: Status = "queued"
    progress: Stage = Stage(stage="waiting", done=0, total=0)
    created: str = Field(description="UTC, ISO 8601; so are the others")
    started: str | None = None
    ended: str | None = None
    model: str
    digest: str = Field(description="of the model's bundle")
    against: str | None = Field(None, description="the model that it is compared with")
    against_digest: str | None = None
    dataset: str = Field(description="the collection, or the uploaded file's name")
    images: int = Field(description="of the dataset")
    protocol: str
    labels: str | None = Field(None, description="a key of the collection's payloads")
    seed: int
    limit: int | None = Field(description="images that are looked at, at most; null: the protocol's own number")
    error: Failure | None = None

    @property
    def open(self) -> bool:
        """Whether it is still to end."""
        return self.status in OPEN
