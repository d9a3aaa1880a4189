"""How fast collections are, against FAISS by itself: `make bench-retrieval`.

    python -m benchmarks.retrieval [--points 200000] [--size 512] [--queries 200] [--seed 0]

Clustered vectors of unit length (a thousand centres, noise of 0.7 of their distances), payloads with a number.

- `ingest_http`: points a second, written over HTTP in requests of a thousand by one client, each on the disk when it is
  answered. What the client needs to write its JSON is not counted.
- `ready_s`, `first_query_s`: the server started anew on the written folder, until it is ready, and its first search.
- `graph_s`: until all points are searched by the graph.
- `exact_over_faiss`, `graph_over_faiss`: searches a second in one process over those of FAISS's call with one thread
  (flat; HNSW with the same graph and width), in turns, the median of the ratios of each query's two times.
- `recall_at_10` of the graph against the exact search.
- `filter_1pc_ms`, `filter_1pc_floor_ms`: a search among the hundredth of the points that an indexed field names, and
  FAISS's exact search in those points alone; `filter_1pc_recall`.
- `http_overhead_ms`: median time of a search over HTTP less that in one process, by the graph.
- `memory_ratio`: what the process grew by over the bytes of vectors and graph.
"""

from __future__ import annotations

import argparse
import http.client
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import orjson
import psutil

from amcl_serve.hosting.opening import find_bundle
from amcl_serve.vectors.index.graph import NEIGHBOURS, SEARCH_WIDTH, GraphIndex
from amcl_serve.vectors.store import SqliteStore
from amcl_serve.vectors.types import Query
from benchmarks.processes import serving

Vectors = npt.NDArray[np.float32]
TOGETHER, K, GROUPS = 1000, 10, 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retrieval")
    for name, value in (("points", 200_000), ("size", 512), ("queries", 200), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args(arguments)
    vectors = clustered(options.points, options.size, options.seed)
    queries = clustered(options.queries, options.size, options.seed, more=1)
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        with serving(find_bundle("default"), folder) as server:
            show("ingest_http", ingest(server.port, vectors), "points/s")
        began = time.perf_counter()
        with serving(find_bundle("default"), folder) as server:
            show("ready_s", time.perf_counter() - began)
            over_http = http_times(server.port, queries)
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


def ingest(port: int, vectors: Vectors) -> float:
    """Write them over HTTP; points a second."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    send(connection, "PUT", "/collections/a", {"vectors": {"size": vectors.shape[1], "distance": "Cosine"}})
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


def http_times(port: int, queries: Vectors) -> list[float]:
    """Seconds of each search over HTTP, by the graph."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    bodies = [orjson.dumps({"query": query}, option=orjson.OPT_SERIALIZE_NUMPY) for query in queries]

    def search(body: bytes) -> Any:
        return send(connection, "POST", "/collections/a/points/query", body)

    began = time.perf_counter()
    search(bodies[0])
    show("first_query_s", time.perf_counter() - began)
    began = time.perf_counter()
    while True:
        detail = send(connection, "GET", "/collections/a", None)["result"]
        if detail["indexed_vectors_count"] >= 0.98 * detail["points_count"]:
            break
        time.sleep(1)
    show("graph_s", time.perf_counter() - began)
    return [timed(lambda body=body: search(body))[0] for body in bodies]  # type: ignore[misc]


def in_process(data: Path, vectors: Vectors, queries: Vectors, over_http: list[float]) -> None:
    """The rest, with the store in this process."""
    before = psutil.Process().memory_info().rss
    store = SqliteStore(data)
    store.query("a", Query(queries[0]))
    while store.describe("a").in_graph < 0.98 * len(vectors):
        time.sleep(1)
    graph = graph_of(store)
    grown = psutil.Process().memory_info().rss - before
    needed = vectors.nbytes + len(vectors) * 4 * 2 * NEIGHBOURS
    show("memory_ratio", grown / needed)
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    faiss.omp_set_num_threads(1)
    parameters = faiss.SearchParametersHNSW()  # type: ignore[attr-defined]
    parameters.efSearch = SEARCH_WIDTH
    exact: list[tuple[float, float]] = []
    near: list[tuple[float, float]] = []
    recall = []
    for query in queries:
        ours, hits = timed(lambda query=query: store.query("a", Query(query, limit=K, exact=True)))  # type: ignore[misc]
        exact.append((ours, timed(lambda query=query: flat.search(query[None], K))[0]))  # type: ignore[misc]
        wanted = {hit.record.id for hit in hits}
        ours, hits = timed(lambda query=query: store.query("a", Query(query, limit=K)))  # type: ignore[misc]
        raw = timed(lambda query=query: graph.search(query[None], K, params=parameters))[0]  # type: ignore[misc]
        near.append((ours, raw))
        recall.append(len(wanted & {hit.record.id for hit in hits}) / K)
    for name, times in (("exact", exact), ("graph", near)):
        show(f"{name}_ms", 1000 * median(ours for ours, _ in times))
        show(f"{name}_over_faiss", median(raw / ours for ours, raw in times))
    show("recall_at_10", float(np.mean(recall)))
    show("http_overhead_ms", 1000 * (median(over_http) - median(ours for ours, _ in near)))
    filtered(store, vectors, queries)
    store.close()


def filtered(store: SqliteStore, vectors: Vectors, queries: Vectors) -> None:
    """A search among a hundredth of the points."""
    times, floors, found = [], [], []
    for number, query in enumerate(queries):
        group = number % GROUPS
        few = faiss.IndexFlatIP(vectors.shape[1])
        few.add(vectors[group::GROUPS])
        floor, (_, places) = timed(lambda query=query, few=few: few.search(query[None], K))  # type: ignore[misc]
        where = {"must": [{"key": "group", "match": {"value": group}}]}
        ours, hits = timed(lambda query=query, where=where: store.query("a", Query(query, limit=K, filter=where)))  # type: ignore[misc]
        times.append(ours)
        floors.append(floor)
        found.append(len({hit.record.id for hit in hits} & set((places[0] * GROUPS + group).tolist())) / K)
    show("filter_1pc_ms", 1000 * median(times))
    show("filter_1pc_floor_ms", 1000 * median(floors))
    show("filter_1pc_recall", float(np.mean(found)))


def graph_of(store: SqliteStore) -> faiss.IndexHNSWFlat:
    """FAISS's own graph of the only collection."""
    (live,) = store._search._made()
    with live.searching() as (index, _):
        assert isinstance(index.graph, GraphIndex)
        return index.graph._graph


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
