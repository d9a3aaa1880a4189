"""Embedded vector stores behind one interface: ours, and those that are compared with it. Each is imported where used.

Points have an id, a vector of unit length and a whole number `group`, which is indexed where the store can do that.
Cosine is the distance. Graphs have as many neighbours and are built as wide as ours, where that can be set.
"""

# ruff: noqa: ARG002
from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from amcl_serve.vectors.index.graph import BUILD_WIDTH, NEIGHBOURS

Vectors = npt.NDArray[np.float32]
NAME = "points"


class Engine(Protocol):
    """A store, made empty in a folder. `widths` of its search ascend: more finds more; (0,) where it is exact."""

    widths: Sequence[int]

    def __init__(self, folder: Path, size: int) -> None: ...

    def add(self, ids: Sequence[int], vectors: Vectors, groups: Sequence[int]) -> None:
        """Write points [N, size]; at most `TOGETHER` of them."""

    def settle(self) -> None:
        """Return when all points are searched by an index, where there is one."""

    def search(self, vector: Vectors, count: int, width: int, group: int | None = None) -> list[int]:
        """Ids of the nearest, best first; `group` names those that are searched."""


class Amcl:
    """The store of this project, in this process."""

    widths = (32, 48, 64, 96, 128, 192, 256, 384, 512)

    def __init__(self, folder: Path, size: int) -> None:
        from amcl_serve.vectors.store import SqliteStore

        self._store = SqliteStore(folder)
        self._store.create(NAME, size, "Cosine")
        self._store.index_field(NAME, "group", "integer")

    def add(self, ids: Sequence[int], vectors: Vectors, groups: Sequence[int]) -> None:
        from amcl_serve.vectors.types import Point

        points = zip(ids, vectors, groups, strict=True)
        self._store.upsert(NAME, [Point(number, vector, {"group": group}) for number, vector, group in points])

    def settle(self) -> None:
        from amcl_serve.vectors.index.grower import LARGE

        count = self._store.describe(NAME).points
        self.search(np.ones(self._store.size(NAME), np.float32), 1, 0)
        while count >= LARGE and self._store.describe(NAME).in_graph < 0.98 * count:
            time.sleep(0.2)

    def search(self, vector: Vectors, count: int, width: int, group: int | None = None) -> list[int]:
        from amcl_serve.vectors.types import Query

        where = None if group is None else {"must": [{"key": "group", "match": {"value": group}}]}
        hits = self._store.query(NAME, Query(vector, limit=count, filter=where, width=width or None))
        return [int(hit.record.id) for hit in hits]


class QdrantLocal:
    """qdrant-client's own engine in this process, by NumPy: every vector is looked at. It has no indexes."""

    widths = (0,)

    def __init__(self, folder: Path, size: int) -> None:
        from qdrant_client import QdrantClient, models

        self._models = models
        self._client = QdrantClient(path=str(folder))
        self._client.create_collection(NAME, models.VectorParams(size=size, distance=models.Distance.COSINE))

    def add(self, ids: Sequence[int], vectors: Vectors, groups: Sequence[int]) -> None:
        payloads = [{"group": group} for group in groups]
        batch = self._models.Batch(ids=list(ids), vectors=vectors.tolist(), payloads=payloads)
        self._client.upsert(NAME, batch)

    def settle(self) -> None:
        pass

    def search(self, vector: Vectors, count: int, width: int, group: int | None = None) -> list[int]:
        where = None
        if group is not None:
            match = self._models.FieldCondition(key="group", match=self._models.MatchValue(value=group))
            where = self._models.Filter(must=[match])
        found = self._client.query_points(NAME, query=vector, limit=count, query_filter=where, with_payload=True)
        return [int(point.id) for point in found.points]


class LanceDb:
    """LanceDB with graphs of unquantised vectors in one partition, and a bitmap of the groups."""

    widths = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)

    def __init__(self, folder: Path, size: int) -> None:
        import lancedb
        import pyarrow

        self._pyarrow = pyarrow
        self._size = size
        vector = pyarrow.list_(pyarrow.float32(), size)
        schema = pyarrow.schema([("id", pyarrow.int64()), ("group", pyarrow.int64()), ("vector", vector)])
        self._table = lancedb.connect(folder).create_table(NAME, schema=schema)

    def add(self, ids: Sequence[int], vectors: Vectors, groups: Sequence[int]) -> None:
        flat = self._pyarrow.array(vectors.ravel())
        columns = [ids, groups, self._pyarrow.FixedSizeListArray.from_arrays(flat, self._size)]
        self._table.add(self._pyarrow.table(columns, schema=self._table.schema))

    def settle(self) -> None:
        self._table.optimize()
        self._table.create_index(
            metric="cosine", index_type="IVF_HNSW_FLAT", num_partitions=1, m=NEIGHBOURS, ef_construction=BUILD_WIDTH
        )
        self._table.create_scalar_index("group", index_type="BITMAP")
        self._table.optimize()

    def search(self, vector: Vectors, count: int, width: int, group: int | None = None) -> list[int]:
        query = self._table.search(vector).distance_type("cosine").limit(count).nprobes(1).ef(width)
        if group is not None:
            query = query.where(f"`group` = {group}", prefilter=True)
        found: list[int] = query.to_arrow()["id"].to_pylist()
        return found


class Chroma:
    """Chroma with a folder of its own, as `PersistentClient` makes it."""

    widths = (32, 48, 64, 96, 128, 192, 256, 384, 512)

    def __init__(self, folder: Path, size: int) -> None:
        import chromadb

        client = chromadb.PersistentClient(str(folder), chromadb.Settings(anonymized_telemetry=False))
        graph = {"space": "cosine", "max_neighbors": NEIGHBOURS, "ef_construction": BUILD_WIDTH}
        self._collection = client.create_collection(NAME, configuration={"hnsw": graph}, embedding_function=None)
        self._width = 0

    def add(self, ids: Sequence[int], vectors: Vectors, groups: Sequence[int]) -> None:
        metadata: list[Any] = [{"group": group} for group in groups]
        self._collection.add([str(number) for number in ids], vectors, metadata)  # type: ignore[arg-type]

    def settle(self) -> None:
        pass

    def search(self, vector: Vectors, count: int, width: int, group: int | None = None) -> list[int]:
        if width != self._width:
            self._collection.modify(configuration={"hnsw": {"ef_search": width}})
            self._width = width
        where: Any = None if group is None else {"group": group}
        found = self._collection.query(vector[None], n_results=count, where=where, include=["metadatas"])
        return [int(number) for number in found["ids"][0]]


class MilvusLite:
    """Milvus Lite through pymilvus."""

    widths = (32, 48, 64, 96, 128, 192, 256, 384, 512)

    def __init__(self, folder: Path, size: int) -> None:
        from pymilvus import DataType, MilvusClient

        self._client = MilvusClient(str(folder / "milvus.db"))
        schema = self._client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("group", DataType.INT64)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=size)
        index = self._client.prepare_index_params()
        graph = {"M": NEIGHBOURS, "efConstruction": BUILD_WIDTH}
        index.add_index("vector", index_type="HNSW", metric_type="COSINE", params=graph)
        self._client.create_collection(NAME, schema=schema, index_params=index)

    def add(self, ids: Sequence[int], vectors: Vectors, groups: Sequence[int]) -> None:
        points = zip(ids, vectors, groups, strict=True)
        self._client.insert(NAME, [{"id": id_, "vector": vector, "group": group} for id_, vector, group in points])

    def settle(self) -> None:
        self._client.flush(NAME)
        self._client.load_collection(NAME)

    def search(self, vector: Vectors, count: int, width: int, group: int | None = None) -> list[int]:
        where = "" if group is None else f"group == {group}"
        found = self._client.search(
            NAME, [vector], filter=where, limit=count, output_fields=["group"], search_params={"params": {"ef": width}}
        )
        return [int(hit["id"]) for hit in found[0]]


ENGINES: dict[str, type[Engine]] = {
    "amcl-serve": Amcl,
    "qdrant-local": QdrantLocal,
    "lancedb": LanceDb,
    "chroma": Chroma,
    "milvus-lite": MilvusLite,
}
