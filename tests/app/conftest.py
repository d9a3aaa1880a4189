from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.server import serving


@pytest.fixture(scope="session")
def base(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a server with the page, one for all files: it begins without a collection."""
    with serving(tiny_bundle, tmp_path_factory.mktemp("page")) as url:
        yield url
