from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import make_bundle


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A model folder with `alpha` and `beta`."""
    for seed, name in enumerate(("alpha", "beta")):
        make_bundle(tmp_path / "models" / name, name=name, seed=seed)
    return tmp_path / "models"
