"""A peer: a plain FastAPI endpoint under uvicorn that decodes and embeds each image on its own, in a thread.

BENCHMARK_PEER='{…}' uvicorn benchmarks.serving.peers.plain:app
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI, Request
from starlette.responses import Response

from benchmarks.serving.peers.peer import Model, Peer, reply

peer = Peer.from_environment()
model = Model(peer)
pool = ThreadPoolExecutor(peer.decoders)
app = FastAPI()


@app.post("/embed")
async def embed(request: Request) -> Response:
    """One image."""
    body = await request.body()
    answer = await asyncio.get_running_loop().run_in_executor(pool, _answer, body)
    return Response(answer, media_type="application/json")


def _answer(body: bytes) -> bytes:
    return reply(model.features(peer.pixels(peer.image(body))[None])[0])
