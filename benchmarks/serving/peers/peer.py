"""What the peers share: their settings, and what each does with an image as its users would write it.

Bytes to pixels with Pillow, pixels to features with onnxruntime, features to JSON with orjson. Nothing of ours is used:
no check of sizes, formats or EXIF, which only costs time. The session sleeps when idle, as ours does; that helps all.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import asdict, dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import orjson
from PIL import Image

VARIABLE = "BENCHMARK_PEER"  # the environment reaches the workers that a server starts, arguments do not


@dataclass(frozen=True)
class Peer:
    """A peer's settings; each server uses those that it has."""

    model: str  # the ONNX file
    size: int  # of its input, pixels
    body: str  # json or raw
    scaled: bool  # whether JPEG files are decoded at half size or less
    workers: int = 1  # processes that embed
    threads: int = 1  # of each worker's session
    decoders: int = 0  # threads (processes in mosec) that decode for a worker; 0: the worker itself, one by one
    batch: int = 1  # images in one call of the session, at most
    wait_ms: int = 0  # for a batch to fill
    fast_queue: bool = False  # LitServe's, by ZeroMQ

    @classmethod
    def from_environment(cls) -> Peer:
        """The settings that the benchmark gave to this process."""
        return cls(**json.loads(os.environ[VARIABLE]))

    def environment(self) -> dict[str, str]:
        """The variable that `from_environment` reads."""
        return {VARIABLE: json.dumps(asdict(self))}

    def image(self, body: bytes) -> bytes:
        """The file in a request's body."""
        return base64.b64decode(orjson.loads(body)["images"][0]) if self.body == "json" else body

    def pixels(self, data: bytes) -> npt.NDArray[np.uint8]:
        """uint8 [S, S, 3] of a file's bytes: the centred square, resized."""
        image = Image.open(BytesIO(data))
        if self.scaled:
            image.draft("RGB", (2 * self.size, 2 * self.size))
        width, height = image.size
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        return np.asarray(image.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR, box=box))


class Model:
    """One onnxruntime session."""

    def __init__(self, peer: Peer) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = peer.threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = ort.InferenceSession(peer.model, options, providers=["CPUExecutionProvider"])

    def features(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """float32 [N, D] of uint8 [N, S, S, 3]."""
        return self.session.run(["features"], {"pixels": pixels})[0]


def reply(features: npt.NDArray[np.float32]) -> bytes:
    """The answer to one image, in the shape of ours."""
    return orjson.dumps({"data": [{"index": 0, "embedding": features}]}, option=orjson.OPT_SERIALIZE_NUMPY)
