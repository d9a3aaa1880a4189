from __future__ import annotations

from pathlib import Path

import pytest

from tests.images import photo


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 small JPEGs in three classes."""
    root = tmp_path_factory.mktemp("images")
    for index in range(24):
        path = root / f"class{index % 3}" / f"{index:02d}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(photo(index, size=(40, 32)))
    return root
