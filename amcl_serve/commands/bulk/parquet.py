"""Vectors as Parquet: columns `name` (text) and `embedding` (fixed-size lists of float32). Needs pyarrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from amcl_serve.errors import StartupError

ROW_GROUP = 8192  # rows that are in memory at once


def require_pyarrow() -> None:
    """Raise StartupError where pyarrow is not installed."""
    if find_spec("pyarrow") is None:
        raise StartupError("writing Parquet takes pyarrow: pip install 'amcl-serve[parquet]', or write FILE.npy")


def write_parquet(
    path: Path,
    names: Iterator[str],
    rows: Iterable[npt.NDArray[np.float32]],
    *,
    shape: tuple[int, ...],
    metadata: Mapping[str, str],
) -> None:
    """Write the chunks of `rows`, [n, *shape] with a name each; `metadata` goes into the file's schema.

    A name that is not UTF-8 has U+FFFD for each byte that is not.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = pa.float32()
    for size in reversed(shape):
        kind = pa.list_(kind, size)
    schema = pa.schema([("name", pa.string()), ("embedding", kind)], metadata=dict(metadata))
    with pq.ParquetWriter(path, schema, use_dictionary=False) as writer:
        for chunk in rows:
            vectors = pa.array(chunk.reshape(-1))
            for size in reversed(shape):
                vectors = pa.FixedSizeListArray.from_arrays(vectors, size)
            texts = [_utf8(name) for name in islice(names, len(chunk))]
            writer.write_table(pa.Table.from_arrays([pa.array(texts, pa.string()), vectors], schema=schema))


def _utf8(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
