"""A peer: mosec, whose HTTP side and batching are written in Rust and whose workers are processes.

    BENCHMARK_PEER='{…}' python -m benchmarks.serving.peers.mosec_server --address 127.0.0.1 --port PORT

Either one stage that decodes and embeds, or decoding processes in front of those that embed batches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mosec import Server, Worker

from benchmarks.serving.peers.peer import Model, Peer, reply

peer = Peer.from_environment()


class Decode(Worker):
    """Body to pixels."""

    def deserialize(self, data: bytes) -> bytes:
        """The file in the body."""
        return peer.image(data)

    def forward(self, data: bytes) -> Any:
        """uint8 [S, S, 3]."""
        return peer.pixels(data)


class Embed(Worker):
    """Pixels to an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(peer)

    def forward(self, data: Any) -> Any:
        """Features of a batch, or of one image where batching is off."""
        return list(self.model.features(np.stack(data))) if peer.batch > 1 else self.model.features(data[None])[0]

    def serialize(self, data: Any) -> bytes:
        """The body of the answer."""
        return reply(data)


class Both(Embed):
    """Body to answer."""

    def deserialize(self, data: bytes) -> Any:
        """Pixels of the file in the body."""
        return peer.pixels(peer.image(data))


if __name__ == "__main__":
    server = Server()
    batching = {"max_batch_size": peer.batch, "max_wait_time": peer.wait_ms}
    if peer.decoders:
        server.append_worker(Decode, num=peer.decoders, route="/embed")
        server.append_worker(Embed, num=peer.workers, route="/embed", **batching)
    else:
        server.append_worker(Both, num=peer.workers, route="/embed", **batching)
    server.run()
