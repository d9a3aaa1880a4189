"""Answers of /models."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from amcl_serve.hosting.calibrations import OwnCalibration
from amcl_serve.http.shapes.base import Shape
from amcl_serve.model.bundle import Calibration, InputSpec, Metric, Parity, Precision, TemperatureSpec


class ModelSummary(Shape):
    """A loaded model."""

    name: str
    digest: str
    default: bool = Field(description="whether it answers requests that name no model")
    description: str
    dim: int = Field(description="D, length of the features")
    heads: int = Field(description="C; 0: a model without heads")
    head_dim: int = Field(description="d'; 0 likewise")
    precision: Precision = Field(description="of the encoder that is loaded")
    provider: str = Field(description="what onnxruntime really runs it on")
    nodes: dict[str, int] | None = Field(
        description="of the encoder's graph, by the provider that runs them; null on the CPU and where it is not known"
    )


class ModelList(Shape):
    """Answer of GET /models."""

    data: list[ModelSummary]


class ModelDetail(ModelSummary):
    """Answer of GET /models/{name}: the card's facts."""

    precisions: list[Precision] = Field(description="that the bundle holds")
    method: str
    recipe: str
    backbone: str
    input: InputSpec
    temperature: TemperatureSpec | None = Field(description="null: a model without heads")
    parity: dict[Precision, Parity]
    metrics: dict[str, Metric]
    calibration: Calibration | None = Field(description="that is in force")
    own_calibration: OwnCalibration | None = Field(
        description="to pairs of the server's user; null: the card's is in force"
    )
    feature_calibration: Calibration | None = Field(description="of the cosine of features, where the score is another")
    training_data: str
    licence: str
    notes: list[str]


class ModelLoad(Shape):
    """Answer of POST /models/{name}/load."""

    outcome: Literal["loaded", "replaced", "unchanged"] = Field(
        description="`unchanged`: the folder holds the bundle that is loaded"
    )
    model: ModelSummary


class ModelUnload(Shape):
    """Answer of POST /models/{name}/unload."""

    outcome: Literal["unloaded"]
