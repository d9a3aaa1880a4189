"""The shapes of a calibration to somebody's pairs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from amcl_serve.hosting.calibrations import OwnCalibration
from amcl_serve.http.shapes.base import Shape
from amcl_serve.model.bundle import Calibration

Cost = Annotated[float, Field(gt=0, le=1e9)]


class CalibrateOptions(Shape):
    """The text fields of the form."""

    false_accept_rate: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="`same` is to be true of at most so large a share of pairs of different things"
    )
    false_accept_cost: Cost | None = Field(None, description="of a wrong `same`, beside false_reject_cost")
    false_reject_cost: Cost | None = Field(None, description="of a `same` that is missing")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(0, description="of the halves")


class ShareAnswer(BaseModel):
    """A share of `n` held-out pairs and its 95 % interval."""

    value: float
    low: float
    high: float
    n: int


class ThresholdAnswer(BaseModel):
    """From where on pairs are `same`: chosen on the fitted half, its errors on the other."""

    by: Literal["probability", "false_accept_rate", "cost"] = Field(description="`probability`: a half")
    score: float
    probability: float
    false_accept_rate: ShareAnswer
    false_reject_rate: ShareAnswer


class CalibrationAnswer(OwnCalibration):
    """Answer of POST /models/{name}/calibrate."""

    left_out: int = Field(description="pairs of which an image could not be read")
    threshold: ThresholdAnswer


class CalibrationUndone(BaseModel):
    """Answer of DELETE /models/{name}/calibration."""

    outcome: Literal["removed", "absent"]
    calibration: Calibration | None = Field(description="what holds now: the card's")
