"""The shapes of the Open Inference Protocol (KServe's v2, which Triton's clients speak) over REST."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from amcl_serve.http.shapes.base import Items, Shape
from amcl_serve.model.bundle import Output

IMAGE = "image"


class TensorParameters(BaseModel, extra="ignore"):
    """Of a tensor in a request."""

    binary_data_size: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="bytes of it behind the JSON, in place of `data`"
    )
    binary_data: bool | None = Field(default=None, description="of an output: bytes behind the JSON, not numbers in it")


class InputTensor(Shape):
    """The images: each an encoded file."""

    name: str = Field(description=f"`{IMAGE}`")
    shape: Annotated[Items[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=2)] = Field(
        description="[n] or [n, 1]"
    )
    datatype: str = Field(description="BYTES")
    parameters: TensorParameters = TensorParameters()
    data: Items[str] | None = Field(default=None, description="each image as base64 or data URI")


class WantedTensor(Shape):
    """An output that is asked for."""

    name: Output
    parameters: TensorParameters = TensorParameters()


class InferParameters(BaseModel, extra="ignore"):
    """Of a request."""

    binary_data_output: bool = Field(default=False, description="all outputs as bytes behind the JSON")


class InferRequest(Shape):
    """JSON of a request to infer; bytes may follow it, where Inference-Header-Content-Length says how long it is."""

    id: Annotated[str, Field(max_length=128)] | None = None
    inputs: Annotated[list[InputTensor], Field(min_length=1, max_length=1)]
    outputs: Annotated[list[WantedTensor], Field(max_length=2)] | None = Field(
        default=None, description="all, if absent"
    )
    parameters: InferParameters = InferParameters()


class OutputTensor(Shape):
    """One output of all images."""

    name: Output
    datatype: Literal["FP32"]
    shape: list[int]
    parameters: TensorParameters | None = None
    data: list[float] | None = Field(default=None, description="its numbers, row by row")


class InferAnswer(Shape):
    """Answer of infer."""

    model_name: str
    id: str | None = None
    outputs: list[OutputTensor]


class TensorMetadata(Shape):
    """A tensor of a model; -1 stands for the number of images."""

    name: str
    datatype: Literal["BYTES", "FP32"]
    shape: list[int]


class ModelMetadata(Shape):
    """A model, as the protocol describes it."""

    name: str
    versions: list[str] = Field(description="the bundle's digest")
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(Shape):
    """The server, as the protocol describes it."""

    name: str
    version: str
    extensions: list[str]


class Live(Shape):
    """Whether the process answers."""

    live: bool


class Ready(Shape):
    """Whether images can be embedded."""

    ready: bool
