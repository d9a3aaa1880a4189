from __future__ import annotations

from pathlib import Path

import pytest

from amcl_serve import registry
from amcl_serve.errors import BundleError, ModelNotFound
from amcl_serve.registry import Registry, find_bundle, load_model
from amcl_serve.settings import Settings
from tests.fakes import make_bundle


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that ships one bundle, `alpha`."""
    monkeypatch.setattr(registry, "MODELS_DIR", tmp_path / "models")
    make_bundle(tmp_path / "models" / "alpha")
    (tmp_path / "models" / "not-a-bundle").mkdir()
    return tmp_path / "models"


def test_load_by_folder_and_ask_by_name(tiny_bundle: Path) -> None:
    model = load_model(Settings(model=str(tiny_bundle), session_threads=1))
    models = Registry(model)
    assert models.get() is models.get("default") is models.get("tiny") is model
    assert models.all() == [model]
    assert model.encoder.bundle is model.bundle
    assert not model.engine.healthy
    with pytest.raises(ModelNotFound, match="'big' is loaded; this server has 'tiny'"):
        models.get("big")


def test_the_only_shipped_bundle_is_the_default(shipped: Path) -> None:
    assert find_bundle("default") == find_bundle("alpha") == shipped / "alpha"


def test_several_shipped_bundles_leave_no_default(shipped: Path) -> None:
    make_bundle(shipped / "beta")
    assert find_bundle("beta") == shipped / "beta"
    with pytest.raises(BundleError, match="shipped are alpha, beta"):
        find_bundle("default")


@pytest.mark.parametrize("name", ["gamma", "not-a-bundle", "../models/alpha", "/nowhere"])
def test_other_names_list_what_is_shipped(shipped: Path, name: str) -> None:
    with pytest.raises(BundleError, match="shipped are alpha"):
        find_bundle(name)


def test_a_package_without_bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "MODELS_DIR", tmp_path)
    with pytest.raises(BundleError, match="none is shipped"):
        find_bundle("default")
