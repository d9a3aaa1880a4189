from __future__ import annotations

import pytest

from amcl_serve.vectors.store import SqliteStore


@pytest.fixture
def store(tmp_path):
    store = SqliteStore(tmp_path / "data")
    yield store
    store.close()
