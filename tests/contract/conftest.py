from __future__ import annotations

from pathlib import Path

import pytest

from amcl_serve.model.bundle import Bundle
from tests.export.conftest import one_torch_thread  # noqa: F401 - autouse
from tests.export.tiny import make_photo_folder, make_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a training run (see tests/export/tiny.py)."""
    return make_run(tmp_path_factory.mktemp("contract") / "run")


@pytest.fixture(scope="session")
def photo_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """held-out/ (96 images) and bank/ (64), named like Tiny-ImageNet."""
    home = tmp_path_factory.mktemp("photos")
    make_photo_folder(home / "held-out", 96, seed=1, first=475)
    make_photo_folder(home / "bank", 64, seed=2)
    return home


@pytest.fixture(scope="session")
def bundle(run: Path, photo_folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of all three precisions with calibration and metrics."""
    from export.__main__ import main

    out = tmp_path_factory.mktemp("exported") / "tiny"
    images = ["--images", photo_folders / "held-out", "--train-images", photo_folders / "bank"]
    images += ["--whiten", "none"]  # an untrained network's features tell so little apart that int8 loses it
    assert main([str(a) for a in ("--checkpoint", run, "--out", out, *images)]) == 0
    return Bundle.open(out)
