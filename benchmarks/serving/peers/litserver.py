"""A peer: LitServe, with its own batching.

    BENCHMARK_PEER='{…}' python -m benchmarks.serving.peers.litserver PORT

Raw bodies reach it through FastAPI's `Body`; a plain `Request` would be read as JSON or as a form.
"""

import base64
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import litserve
import numpy as np
from fastapi import Body, Request
from starlette.responses import Response

from benchmarks.serving.peers.peer import Model, Peer, reply

peer = Peer.from_environment()
Received = Request if peer.body == "json" else Annotated[bytes, Body(media_type="image/jpeg")]


class Api(litserve.LitAPI):
    """Decoding in `decode_request`, one by one, or for a whole batch in threads."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Load the model in a worker."""
        self.model = Model(peer)
        self.pool = ThreadPoolExecutor(peer.decoders) if peer.decoders else None

    def decode_request(self, request: Received) -> Any:  # type: ignore[valid-type]
        """Pixels, or the bytes that `batch` decodes."""
        data = base64.b64decode(request["images"][0]) if peer.body == "json" else request
        return data if self.pool else peer.pixels(data)

    def batch(self, inputs: list[Any]) -> Any:
        """uint8 [N, S, S, 3]."""
        return np.stack(list(self.pool.map(peer.pixels, inputs)) if self.pool else inputs)

    def predict(self, x: Any) -> Any:
        """Features of a batch, or of one image where batching is off."""
        return self.model.features(x) if peer.batch > 1 else self.model.features(x[None])[0]

    def unbatch(self, output: Any) -> list[Any]:
        """Rows."""
        return list(output)

    def encode_response(self, output: Any) -> Response:
        """Written by orjson; a dictionary would be walked by FastAPI, number by number."""
        return Response(reply(output), media_type="application/json")


if __name__ == "__main__":
    api = Api(max_batch_size=peer.batch, batch_timeout=peer.wait_ms / 1000, api_path="/embed")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=peer.workers, fast_queue=peer.fast_queue)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
