"""Which store the settings name."""

from __future__ import annotations

from amcl_serve.errors import StorageError
from amcl_serve.settings import Settings
from amcl_serve.vectors.protocol import VectorStore
from amcl_serve.vectors.store import SqliteStore

MILVUS = "milvus://"


def open_store(settings: Settings) -> VectorStore:
    """The collections, opened; raises StorageError where they cannot be."""
    if not settings.vectors.startswith(MILVUS):
        return SqliteStore(settings.data_dir, search_threads=settings.search_threads)
    try:
        from amcl_serve.vectors.milvus.store import MilvusStore
    except ImportError:
        raise StorageError(f"vectors={settings.vectors} needs pymilvus: pip install 'amcl-serve[milvus]'") from None
    return MilvusStore(settings.vectors.removeprefix(MILVUS))
