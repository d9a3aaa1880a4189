"""Which store a setting opens."""

from __future__ import annotations

import sys

import pytest
from pydantic import ValidationError

from amcl_serve.errors import StorageError
from amcl_serve.settings import Settings
from amcl_serve.vectors.opening import open_store
from amcl_serve.vectors.store import SqliteStore


@pytest.mark.parametrize("vectors", ["", "sqlite"])
def test_the_embedded_store(vectors, tmp_path):
    store = open_store(Settings(vectors=vectors, data_dir=tmp_path))
    assert isinstance(store, SqliteStore)
    store.close()


@pytest.mark.parametrize("vectors", ["milvus", "milvus://", "milvus://host", "http://host:1", "milvus://u:p@host:1"])
def test_what_is_no_store(vectors):
    with pytest.raises(ValidationError, match="sqlite, or milvus://HOST:PORT"):
        Settings(vectors=vectors)


def test_without_pymilvus(monkeypatch):
    monkeypatch.delitem(sys.modules, "amcl_serve.vectors.milvus.store", raising=False)
    monkeypatch.delitem(sys.modules, "amcl_serve.vectors.milvus.connection", raising=False)
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(StorageError, match=r"needs pymilvus: pip install 'amcl-serve\[milvus\]'"):
        open_store(Settings(vectors="milvus://127.0.0.1:19530"))
