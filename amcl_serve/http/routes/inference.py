"""/v2: the Open Inference Protocol, for Triton's and KServe's clients: images as BYTES, vectors as FP32."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from fastapi import Request
from starlette.responses import Response

import amcl_serve
from amcl_serve.engine.submissions import Embedded
from amcl_serve.errors import AmclError, InvalidRequest, ModelNotFound, NotReady
from amcl_serve.http import binary_tensors, body
from amcl_serve.http.about import about, routes
from amcl_serve.http.guards.keys import Access
from amcl_serve.http.headers import header
from amcl_serve.http.images import Image, all_from_texts, at, embed_images
from amcl_serve.http.output import timed_json, timed_tensors
from amcl_serve.http.routes.operation import check_engines
from amcl_serve.http.server import server_of
from amcl_serve.http.shapes.inference import (
    IMAGE,
    InferAnswer,
    InferRequest,
    InputTensor,
    Live,
    ModelMetadata,
    Ready,
    ServerMetadata,
    TensorMetadata,
    WantedTensor,
)
from amcl_serve.model.bundle import ModelCard, Output

router = routes("/v2", tag="inference")

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "required": True,
    "content": {body.JSON: {"schema": {"$ref": "#/components/schemas/InferRequest"}}, body.OCTETS: _BINARY},
}


@router.get("", summary="The server, for clients of the Open Inference Protocol")
@about(Access.READ)
async def server_metadata() -> ServerMetadata:
    """Name, version and extensions."""
    return ServerMetadata(name="amcl-serve", version=amcl_serve.__version__, extensions=["binary_tensor_data"])


@router.get("/health/live", summary="Whether the process answers")
@about(None)
async def live() -> Live:
    """As /livez."""
    return Live(live=True)


@router.get("/health/ready", summary="Whether images can be embedded")
@about(None, NotReady)
async def ready(request: Request) -> Ready:
    """As /readyz: every model's engine runs; else 503."""
    check_engines(server_of(request).models.all())
    return Ready(ready=True)


@router.get("/models/{name}", summary="A model and its tensors")
@about(Access.READ, NotReady, ModelNotFound)
async def model_metadata(request: Request, name: str) -> ModelMetadata:
    """`image` goes in; `features` come out, and `heads` where the model has them."""
    model = server_of(request).models.get(name)
    card = model.bundle.card
    outputs = [TensorMetadata(name=of, datatype="FP32", shape=[-1, *_shape(card, of)]) for of in card.outputs]
    return ModelMetadata(
        name=model.name,
        versions=[model.bundle.digest],
        platform="onnxruntime_onnx",
        inputs=[TensorMetadata(name=IMAGE, datatype="BYTES", shape=[-1])],
        outputs=outputs,
    )


@router.get("/models/{name}/ready", summary="Whether a model can embed images")
@about(Access.READ, NotReady, ModelNotFound)
async def model_ready(request: Request, name: str) -> Ready:
    """Its engine runs; else 503."""
    check_engines([server_of(request).models.get(name)])
    return Ready(ready=True)


@router.post(
    "/models/{name}/infer",
    summary="Embed images, for clients of the Open Inference Protocol",
    response_model=InferAnswer,
    responses={200: {"content": {body.OCTETS: _BINARY}, "description": "The tensors, rows in the order of the images"}},
    openapi_extra={"requestBody": _BODY},
)
@about(Access.READ, ModelNotFound, images=True, body=InferRequest)
async def infer(request: Request, name: str) -> Response:
    """Embed the images in the tensor `image`: as base64 in JSON, or as bytes behind it.

    `features` and `heads` are as the encoder gives them: features of any norm, heads of unit norm, where the model has
    them. There are no errors of single items: one bad image fails the request, named by its index.
    """
    server = server_of(request)
    if (kind := body.media_type(request.scope)) not in ("", body.JSON, body.OCTETS):
        raise body.unsupported(kind, f"this route reads {body.JSON}, and {body.OCTETS} with {binary_tensors.HEADER}")
    sent = await body.read_body(request.receive)
    text, data = binary_tensors.split(sent, header(request.scope, binary_tensors.HEADER.encode()))
    given = await body.parsed(text, InferRequest)
    (tensor,) = given.inputs
    images = await body.away(len(sent), _images, tensor, data, server.settings.max_items)
    with server.models.use(name) as model:
        card = model.bundle.card
        wanted = given.outputs or [WantedTensor(name=of) for of in card.outputs]
        card.check_outputs(output.name for output in wanted)
        found = await embed_images(model.engine, images, request.receive)
    rows: list[Embedded] = []
    for index, item in enumerate(found.items):
        if isinstance(item, AmclError):
            raise at(item, IMAGE, index, f"{IMAGE}[{index}]")
        rows.append(item)
    head: dict[str, Any] = {"model_name": model.name, "outputs": []} | ({"id": given.id} if given.id else {})
    behind: list[npt.NDArray[np.float32]] = []
    for output in wanted:
        array = np.array([getattr(row, output.name) for row in rows], np.float32)
        said: dict[str, Any] = {"name": output.name, "datatype": "FP32", "shape": list(array.shape)}
        as_bytes = output.parameters.binary_data
        if given.parameters.binary_data_output if as_bytes is None else as_bytes:
            behind.append(array)
            said["parameters"] = {"binary_data_size": array.nbytes}
        else:
            said["data"] = array.ravel()
        head["outputs"].append(said)
    if behind:
        return timed_tensors(head, binary_tensors.packed(behind), found.timing, server.metrics)
    return timed_json(head, found.timing, server.metrics)


def _images(tensor: InputTensor, data: bytes, most: int) -> list[Image]:
    """The images of a tensor, as many as it says."""
    if tensor.name != IMAGE or tensor.datatype != "BYTES":
        raise InvalidRequest(f"the input is {tensor.name[:64]!r}, {tensor.datatype[:16]}; it is {IMAGE!r}, BYTES")
    size = tensor.parameters.binary_data_size
    if (size is None) == (tensor.data is None):
        raise InvalidRequest("inputs[0]: the images are in `data`, or behind the JSON with `binary_data_size`")
    images: list[bytes]
    if tensor.data is not None:
        body.check_count(len(tensor.data), most, "images")
        images = all_from_texts(tensor.data, IMAGE, [f"{IMAGE}[{index}]" for index in range(len(tensor.data))])
    elif size != len(data):
        raise InvalidRequest(f"inputs[0]: binary_data_size is {size}, and {len(data)} bytes follow the JSON")
    else:
        images = binary_tensors.elements(data, most)
    if tensor.shape not in ([len(images)], [len(images), 1]):
        raise InvalidRequest(f"inputs[0]: its shape is {tensor.shape}, and it holds {len(images)} images")
    if not images:
        raise InvalidRequest(f"no image: send at least one in the tensor {IMAGE!r}")
    return list[Image](images)


def _shape(card: ModelCard, output: Output) -> list[int]:
    return [card.feature_dim] if output == "features" else [card.num_heads, card.head_dim]
