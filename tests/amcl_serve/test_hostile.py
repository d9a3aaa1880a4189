"""What strangers send, through a real server: nothing of it fails the server, its neighbours, or its memory."""

from __future__ import annotations

import asyncio
import base64
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from amcl_serve.hosting.opening import find_bundle
from benchmarks.processes import Server, serving
from tests import images
from tests.hostile import EMPTY, MAX_PIXELS, OK, Hostile, corpus

MiB = 1024 * 1024
STATUS = {OK: 200, EMPTY: 400, "undecodable_image": 400, "image_too_large": 413, "unsupported_image": 415}
GOOD = [Hostile("good", str(seed), images.photo(seed, (40, 30)), frozenset({OK}), "image/jpeg") for seed in range(24)]
BATCH = 48
Outcome = str | list[float]  # the code of an error, or the features


@pytest.fixture(scope="module")
def server(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    flags = (
        "--session-threads",
        "1",
        "--max-pixels",
        str(MAX_PIXELS),
        "--decode-threads",
        "2",
        "--request-deadline",
        "20",
    )
    # One arena of memory: what glibc keeps for each thread would hide what the server keeps.
    with serving(tiny_bundle, tmp_path_factory.mktemp("hostile"), *flags, MALLOC_ARENA_MAX="1") as server:
        yield server


async def send_alone(client: httpx.AsyncClient, one: Hostile) -> Outcome:
    """What is said of a file sent as a raw body."""
    response = await client.post("/embed", content=one.data, headers={"content-type": one.mime})
    body = response.json()
    name = f"{one.kind} {one.name}"
    if response.status_code == 200:
        (item,) = body["data"]
        assert item["index"] == 0, name
        outcome = item["embedding"]
    else:
        assert response.headers["content-type"] == "application/problem+json", name
        outcome = body["code"]
    code = outcome if isinstance(outcome, str) else OK
    assert code in one.allowed, f"{name}: {body}"
    assert response.status_code == STATUS[code], f"{name}: {body}"
    return outcome


async def send_batch(client: httpx.AsyncClient, batch: Sequence[Hostile], *, form: bool) -> list[Outcome]:
    """What is said of each of many files in one request, as multipart or as JSON."""
    content: dict[str, Any]
    if form:
        content = {"files": [("files", (one.name, one.data, one.mime)) for one in batch]}
    else:
        content = {"json": {"images": [base64.b64encode(one.data).decode() for one in batch]}}
    response = await client.post("/embed", **content)
    assert response.status_code == 200, response.text
    items = response.json()["data"]
    assert [item["index"] for item in items] == list(range(len(batch)))
    return [item["embedding"] if "embedding" in item else item["error"]["code"] for item in items]


async def alone(url: str, files: Sequence[Hostile]) -> list[Outcome]:
    """Each file in a request of its own, 8 at a time, so that strangers share the encoder's batches."""
    busy = asyncio.Semaphore(8)
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:

        async def send(one: Hostile) -> Outcome:
            async with busy:
                return await send_alone(client, one)

        return await asyncio.gather(*map(send, files))


async def mixed(url: str, files: Sequence[Hostile], seed: int) -> dict[Hostile, list[Outcome]]:
    """All files and the good ones among them, again and again, in batches of both kinds of body, 4 at a time."""
    rng = random.Random(seed)
    shuffled = rng.sample(files, len(files))
    batches = [shuffled[at : at + BATCH - len(GOOD)] + GOOD for at in range(0, len(shuffled), BATCH - len(GOOD))]
    for batch in batches:
        rng.shuffle(batch)
    busy = asyncio.Semaphore(4)
    found: dict[Hostile, list[Outcome]] = {}
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:

        async def send(number: int, batch: list[Hostile]) -> None:
            async with busy:
                outcomes = await send_batch(client, batch, form=number % 2 == 0)
            for one, outcome in zip(batch, outcomes, strict=True):
                found.setdefault(one, []).append(outcome)

        await asyncio.gather(*(send(number, batch) for number, batch in enumerate(batches)))
    return found


def same(one: Outcome, other: Outcome) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return bool(np.allclose(one, other, atol=1e-5, rtol=0))


def check(server: Server, files: Sequence[Hostile], rounds: int) -> None:
    """`rounds` times every file alone and in batches: what is said of it is what was said of it, and of it alone."""
    first = dict(zip(GOOD, asyncio.run(alone(server.url, GOOD)), strict=True))
    vectors = np.array(list(first.values()))
    assert min(np.abs(a - b).max() for i, a in enumerate(vectors) for b in vectors[:i]) > 1e-3  # a mix-up would show
    for turn in range(rounds):
        order = random.Random(turn).sample([*files, *GOOD], len(files) + len(GOOD))
        for one, outcome in zip(order, asyncio.run(alone(server.url, order)), strict=True):
            assert same(first.setdefault(one, outcome), outcome), f"{one.kind} {one.name} alone"
        for one, outcomes in asyncio.run(mixed(server.url, files, turn)).items():
            for outcome in outcomes:
                assert same(first[one], outcome), f"{one.kind} {one.name} in a batch"
    assert server.process.poll() is None
    assert httpx.get(f"{server.url}/readyz").status_code == 200


def test_the_corpus_is_what_it_should_be() -> None:
    files = corpus()
    assert len(files) >= 400
    again = [one.data for one in corpus() if one.kind == "flipped"]
    assert again == [one.data for one in files if one.kind == "flipped"]  # the seed's doing
    assert {one.kind for one in files} == {
        "truncated", "flipped", "bomb", "nothing", "odd", "exif", "mime", "polyglot", "foreign",
    }  # fmt: skip


def test_hostile_files_alone_and_among_good_ones(server: Server) -> None:
    grown(server, corpus(), warm=2, rounds=2, allowed=12 * MiB)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_thousands_of_hostile_files_at_the_default_model_and_limits(tmp_path: Path) -> None:
    # Blocks of a megabyte go back to the system: at 64 million pixels what glibc keeps is as large as a leak would be.
    with serving(find_bundle("default"), tmp_path, MALLOC_ARENA_MAX="1", MALLOC_MMAP_THRESHOLD_="1000000") as server:
        files = [one for one in corpus(1, flips=80) if one.kind != "bomb" or one.name == "png-20000x20000"]
        grown(server, files, warm=2, rounds=3, allowed=24 * MiB)


def grown(server: Server, files: Sequence[Hostile], *, warm: int, rounds: int, allowed: int) -> None:
    """After `warm` rounds, `rounds` more leave no file handle open and at most `allowed` bytes.

    A round carries some 18 MB of bodies.
    """
    check(server, files, warm)
    resident, handles = server.resident(), settled(server)
    check(server, files, rounds)
    assert settled(server) <= handles
    assert server.resident() - resident <= allowed


def settled(server: Server) -> int:
    """The fewest handles seen within half a second: connections that a client has closed take a moment to go."""
    seen = []
    for _ in range(10):
        seen.append(server.handles())
        time.sleep(0.05)
    return min(seen)
