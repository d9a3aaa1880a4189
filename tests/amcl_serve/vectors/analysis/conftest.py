from __future__ import annotations

import pytest

from amcl_serve.vectors.analysis import diverse, known, leaks, outliers, pairs
from amcl_serve.vectors.store import SqliteStore


@pytest.fixture
def store(tmp_path):
    store = SqliteStore(tmp_path / "data")
    yield store
    store.close()


@pytest.fixture
def small_pieces(monkeypatch):
    """A few points fill tiles, blocks and pieces."""
    monkeypatch.setattr(pairs, "TILE", 3)
    for module in (known, leaks, outliers):
        monkeypatch.setattr(module, "PIECE_BYTES", 7 * 4 * 4)
    for module in (known, leaks, outliers, diverse):
        monkeypatch.setattr(module, "BLOCK_BYTES", 5 * 4 * 4)
