from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from tests.fakes import make_bundle

settings.register_profile("project", deadline=None)  # a busy machine is no failure
settings.load_profile("project")


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an adaptive, calibrated bundle of 16-pixel images (see tests/fakes.py)."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
