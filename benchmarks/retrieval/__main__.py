"""How fast collections are, against FAISS by itself: `make bench-retrieval`.

    python -m benchmarks.retrieval [--points 200000] [--size 512] [--queries 200] [--seed 0]
                                   [--kind auto|exact|hnsw|ivf] [--precision float32|float16|int8]

Clustered vectors of unit length (a thousand centres, noise of 0.7 of their distances), payloads with a number.

- `ingest_http`: points a second, written over HTTP in requests of a thousand by one client, each on the disk when it is
  answered. What the client needs to write its JSON is not counted.
- `graph_s`: from the first search until all points are searched by the graph (or the lists).
- `reading_s`, `ready_s`, `first_query_s`: the folder's files read from beginning to end; the server started anew on the
  folder that it was closed on, until it is ready, and its first search. Neither finds the files in the page cache.
- `exact_over_faiss`, `graph_over_faiss`: searches a second in one process over those of FAISS's call with one thread
  (flat; the same graph with the same width). Either side answers the ten nearest and their scores: FAISS numbers of
  its own, ours the points' ids, versions and vectors, and exact scores; no payloads, which FAISS has not, and which
  HTTP answers when asked. `graph_payload_over_faiss`: with payloads, of one state of the file. Twenty queries by one,
  then the same by the other: more than the processor's caches hold, so that neither finds there what the other has just
  looked at, and within the same fraction of a second. The median of the ratios of each query's two times in three
  rounds; either side begins every second block. FAISS has vectors and graph in memory of its own, as it asks for it;
  where pages lie there can make a scan a quarter slower or faster. The graph for float32 and hnsw alone, which have the
  vectors in memory.
- `recall_at_10` of the graph against the exact search.
- `filter_1pc_ms`, `filter_1pc_floor_ms`: a search among the hundredth of the points that an indexed field names, and
  FAISS's exact search in those points alone; `filter_1pc_recall`.
- `http_overhead_ms`: median time of a search over HTTP less that in one process, by the graph.
- `memory_ratio`: what the process grew by over the bytes of vectors and graph.
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, get_args

import faiss
import numpy as np
import numpy.typing as npt
import orjson
import psutil

from amcl_serve.hosting.opening import find_bundle
from amcl_serve.vectors.index.graph import NEIGHBOURS, GraphIndex, search_width
from amcl_serve.vectors.index.pages import LARGE
from amcl_serve.vectors.store import SqliteStore
from amcl_serve.vectors.types import IndexKind, Precision, Query
from benchmarks.processes import serving

Vectors = npt.NDArray[np.float32]
TOGETHER, K, GROUPS, ROUNDS, BLOCK = 1000, 10, 100, 3, 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retrieval")
    for name, value in (("points", 200_000), ("size", 512), ("queries", 200), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--kind", choices=get_args(IndexKind), default="auto")
    parser.add_argument("--precision", choices=get_args(Precision), default="float32")
    options = parser.parse_args(arguments)
    vectors = clustered(options.points, options.size, options.seed)
    queries = clustered(options.queries, options.size, options.seed, more=1)
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        with serving(find_bundle("default"), folder) as server:
            index = {"kind": options.kind, "precision": options.precision}
            show("ingest_http", ingest(server.port, vectors, index), "points/s")
            search(server.port, queries[:1])
            if options.kind != "exact":
                show("graph_s", grown(server.port))
        show("reading_s", read(folder / "data"))
        forget(folder / "data")
        began = time.perf_counter()
        with serving(find_bundle("default"), folder) as server:
            show("ready_s", time.perf_counter() - began)
            show("first_query_s", search(server.port, queries[:1])[0])
            over_http = search(server.port, queries)
        in_process(folder / "data", vectors, queries, over_http)
    return 0


def show(name: str, value: float, unit: str = "") -> None:
    """A figure, as soon as it is known."""
    print(f"{name} = {value:.4g} {unit}".rstrip(), flush=True)


def clustered(count: int, size: int, seed: int, more: int = 0) -> Vectors:
    """Vectors [count, size] of unit length; another `more` gives others around the same centres."""
    centres = np.random.default_rng(seed).normal(size=(1000, size)).astype(np.float32)
    rng = np.random.default_rng([seed, more])
    found = centres[rng.integers(0, len(centres), count)]
    found += 0.7 * rng.standard_normal((count, size), dtype=np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def ingest(port: int, vectors: Vectors, index: dict[str, str] | None = None) -> float:
    """Write them over HTTP; points a second."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    params = {"size": vectors.shape[1], "distance": "Cosine"}
    send(connection, "PUT", "/collections/a", {"vectors": params, "index": index})
    send(connection, "PUT", "/collections/a/index", {"field_name": "group", "field_schema": "integer"})
    seconds = 0.0
    for start in range(0, len(vectors), TOGETHER):
        rows = range(start, min(start + TOGETHER, len(vectors)))
        points = [{"id": row, "vector": vectors[row], "payload": {"group": row % GROUPS}} for row in rows]
        body = orjson.dumps({"points": points}, option=orjson.OPT_SERIALIZE_NUMPY)
        began = time.perf_counter()
        send(connection, "PUT", "/collections/a/points", body)
        seconds += time.perf_counter() - began
    return len(vectors) / seconds


def search(port: int, queries: Vectors) -> list[float]:
    """Seconds of each search over HTTP."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    bodies = [orjson.dumps({"query": query}, option=orjson.OPT_SERIALIZE_NUMPY) for query in queries]
    return [
        timed(lambda body=body: send(connection, "POST", "/collections/a/points/query", body))[0]  # type: ignore[misc]
        for body in bodies
    ]


def grown(port: int) -> float:
    """Seconds until nearly all points are searched by the graph."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    began = time.perf_counter()
    while True:
        detail = send(connection, "GET", "/collections/a", None)["result"]
        if detail["indexed_vectors_count"] >= 0.98 * detail["points_count"]:
            return time.perf_counter() - began
        time.sleep(1)


def forget(folder: Path) -> list[Path]:
    """Take the folder's files out of the page cache; all of them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return files


def read(folder: Path) -> float:
    """Seconds to read all files of the folder from the disk."""
    files = forget(folder)
    began = time.perf_counter()
    for path in files:
        with path.open("rb", buffering=0) as stream:
            while stream.read(1 << 20):
                pass
    return time.perf_counter() - began


def in_process(data: Path, vectors: Vectors, queries: Vectors, over_http: list[float]) -> None:
    """The rest, with the store in this process."""
    before = psutil.Process().memory_info().rss
    store = SqliteStore(data)
    store.query("a", Query(queries[0]))
    info = store.describe("a")
    while info.index.kind != "exact" and store.describe("a").in_graph < 0.98 * len(vectors):
        time.sleep(1)
    while not settled(store):
        time.sleep(0.1)
    grown = psutil.Process().memory_info().rss - before
    number = {"float32": 4, "float16": 2, "int8": 1}[info.index.precision]
    links = 8 * NEIGHBOURS if info.used == "hnsw" else 8
    show("memory_ratio", grown / (len(vectors) * (number * vectors.shape[1] + links)))
    faiss.omp_set_num_threads(1)
    graph = graph_of(store)
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    parameters = faiss.SearchParametersHNSW()  # type: ignore[attr-defined]
    parameters.efSearch = search_width(len(vectors))
    exact = turns(
        queries,
        lambda query: store.query("a", Query(query, limit=K, exact=True, payload=False)),
        lambda query: flat.search(query[None], K),
    )
    raw = None if graph is None else lambda query: graph.search(query[None], K, params=parameters)
    near = turns(queries, lambda query: store.query("a", Query(query, limit=K, payload=False)), raw)
    whole = turns(queries, lambda query: store.query("a", Query(query, limit=K)), raw)
    for name, times in (("exact", exact), ("graph", near), ("graph_payload", whole)):
        show(f"{name}_ms", 1000 * median(ours for ours, _ in times))
        if name == "exact" or graph is not None:
            show(f"{name}_over_faiss", median(raw / ours for ours, raw in times))
    wanted = flat.search(queries, K)[1].tolist()
    found = [[hit.record.id for hit in store.query("a", Query(query, limit=K, payload=False))] for query in queries]
    show(
        "recall_at_10", float(np.mean([len(set(ids) & set(best)) / K for ids, best in zip(found, wanted, strict=True)]))
    )
    show("http_overhead_ms", 1000 * (median(over_http) - median(ours for ours, _ in near)))
    filtered(store, vectors, queries)
    store.close()


def turns(
    queries: Vectors, ours: Callable[[Vectors], Any], raw: Callable[[Vectors], Any] | None
) -> list[tuple[float, float]]:
    """Seconds of each query by both, 0 for `raw` where there is none."""
    times = []
    for _ in range(ROUNDS):
        for start in range(0, len(queries), BLOCK):
            block = queries[start : start + BLOCK]
            turn = -1 if start // BLOCK % 2 else 1
            sides = [spent(block, side) for side in (ours, raw)[::turn]]
            times += list(zip(*sides[::turn], strict=True))
    return times


def spent(queries: Vectors, side: Callable[[Vectors], Any] | None) -> list[float]:
    """Seconds of each query; 0 without a side."""
    return [timed(lambda query=query: side(query))[0] if side else 0.0 for query in queries]  # type: ignore[misc]


def filtered(store: SqliteStore, vectors: Vectors, queries: Vectors) -> None:
    """A search among a hundredth of the points."""
    groups = [number % GROUPS for number in range(len(queries))]
    indexes = []
    for group in range(min(GROUPS, len(queries))):
        indexes.append(faiss.IndexFlatIP(vectors.shape[1]))
        indexes[-1].add(vectors[group::GROUPS])
    floors, wanted = [], []
    for query, group in zip(queries, groups, strict=True):
        floor, (_, places) = timed(lambda query=query, group=group: indexes[group].search(query[None], K))  # type: ignore[misc]
        floors.append(floor)
        wanted.append(set((places[0] * GROUPS + group).tolist()))
    times, shares = [], []
    for query, group, best in zip(queries, groups, wanted, strict=True):
        where = {"must": [{"key": "group", "match": {"value": group}}]}
        ours, hits = timed(lambda query=query, where=where: store.query("a", Query(query, limit=K, filter=where)))  # type: ignore[misc]
        times.append(ours)
        shares.append(len({hit.record.id for hit in hits} & best) / K)
    show("filter_1pc_ms", 1000 * median(times))
    show("filter_1pc_floor_ms", 1000 * median(floors))
    show("filter_1pc_recall", float(np.mean(shares)))


def graph_of(store: SqliteStore) -> faiss.IndexHNSWFlat | None:
    """FAISS's copy of the graph of the only collection, where it has one of vectors."""
    (live,) = store._search._made()
    with live.searching() as (index, _):
        return faiss.clone_index(index.graph._graph) if isinstance(index.graph, GraphIndex) else None


def settled(store: SqliteStore) -> bool:
    """Whether what begins when the only collection can be searched is done: names read, vectors in large pages."""
    (live,) = store._search._made()
    with live.searching() as (index, _):
        return index.names is not None and (live.gathered == index.memory or index.memory[1] < LARGE)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and the result."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def send(connection: http.client.HTTPConnection, method: str, path: str, body: Any) -> Any:
    """A request; its answer."""
    data = body if isinstance(body, bytes | None) else orjson.dumps(body)
    connection.request(method, path, data, {"content-type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    assert response.status == 200, text[:300]
    return orjson.loads(text)


if __name__ == "__main__":
    sys.exit(main())
