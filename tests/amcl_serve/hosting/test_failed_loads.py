from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from amcl_serve import machine
from amcl_serve.engine.engine import Engine
from amcl_serve.errors import BundleError, LoadFailed, ModelNotFound
from amcl_serve.hosting.lifecycle import Loader
from amcl_serve.hosting.opening import load_models
from amcl_serve.hosting.registry import Registry
from amcl_serve.machine import Memory
from amcl_serve.model.encoder import Encoder
from amcl_serve.settings import Settings
from tests.amcl_serve.hosting.running import features, running
from tests.fakes import make_bundle


def alter_file(folder: Path) -> None:
    (folder / "encoder.fp32.onnx").write_bytes(b"altered")


def alter_probe(folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text())
    card["probe"]["features"]["fp32"] = [-value for value in card["probe"]["features"]["fp32"]]
    (folder / "card.json").write_text(json.dumps(card))


def alter_name(folder: Path) -> None:
    make_bundle(folder, name="gamma", seed=7)


@pytest.mark.parametrize(
    ("alter", "said"),
    [
        (alter_file, r"bundle beta: encoder\.fp32\.onnx is not the file that the card describes"),
        (alter_probe, "cosine of -1.000000"),
        (alter_name, "the folder beta holds a bundle called gamma"),
    ],
)
def test_a_failed_load_leaves_the_old_model(models: Path, alter: Callable[[Path], None], said: str) -> None:
    async def scenario() -> None:
        async with running(models, "alpha", "beta") as loader:
            old = loader.registry.get("beta")
            before = await features(old)
            alter(models / "beta")
            with pytest.raises(LoadFailed, match=said) as caught:
                await loader.load("beta")
            assert str(models) not in caught.value.detail
            assert loader.registry.get("beta") is old
            assert await features(old) == before
            make_bundle(models / "beta", name="beta", seed=9)  # and it can be tried again
            assert (await loader.load("beta"))[1] == "replaced"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("broken", "method", "said"),
    [
        (Encoder, "encode", "cannot embed 1 images at once on CPUExecutionProvider; lower --max-batch"),
        (Engine, "start", "it failed while it was tried out; the server's log says why"),
    ],
)
def test_a_load_that_breaks_leaves_the_old_model(
    models: Path, monkeypatch: pytest.MonkeyPatch, broken: type, method: str, said: str
) -> None:
    async def scenario() -> None:
        async with running(models, "alpha", "beta") as loader:
            old = loader.registry.get("beta")
            make_bundle(models / "beta", name="beta", seed=7)
            with monkeypatch.context() as patch:
                patch.setattr(broken, method, fail)
                with pytest.raises(LoadFailed, match=said) as caught:
                    await loader.load("beta")
            assert "/secret" not in caught.value.detail
            assert loader.registry.get("beta") is old
            await features(old)

    asyncio.run(scenario())


def test_a_model_that_memory_does_not_hold_is_refused(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with running(models, "alpha", "beta") as loader:
            old = loader.registry.get("beta")
            make_bundle(models / "beta", name="beta", seed=7)
            monkeypatch.setattr(machine, "memory", lambda: Memory(2000, "the control group's limit of 9 MiB"))
            with pytest.raises(
                LoadFailed, match="it takes about 0 MiB, and 0 MiB are left by the control group's limit"
            ):
                await loader.load("beta")
            assert loader.registry.get("beta") is old
            monkeypatch.setattr(machine, "memory", lambda: None)  # not known
            assert (await loader.load("beta"))[1] == "replaced"

    asyncio.run(scenario())


def fail(*_: object) -> None:
    raise RuntimeError("no memory for /secret")


@pytest.mark.parametrize(
    "name", ["gamma", "../models/beta", "./beta", "beta/", "/etc", "..", "", ".beta", "BETA", "a\n"]
)
def test_only_names_are_loaded(models: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(models)  # where `--model beta` would find it
    shutil.copytree(models / "beta", models / ".beta")

    async def scenario() -> None:
        async with running(models, "alpha") as loader:
            with pytest.raises(ModelNotFound, match=r"no bundle .* --model-dir"):
                await loader.load(name)

    asyncio.run(scenario())


def test_without_a_model_folder_there_is_nothing_to_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(model=str(make_bundle(tmp_path / "alpha", name="alpha")), session_threads=1)
    make_bundle(tmp_path / "beta", name="beta")

    async def scenario() -> None:
        loader = Loader(Registry(*load_models(settings)), settings, watch=lambda _: None)
        await loader.start()
        with pytest.raises(ModelNotFound):
            await loader.load("beta")
        make_bundle(tmp_path / "alpha", name="alpha", seed=7)  # what it was started with can be replaced
        assert (await loader.load("alpha"))[1] == "replaced"
        await loader.stop()

    asyncio.run(scenario())


def test_two_bundles_of_one_name_are_refused(models: Path) -> None:
    twin = make_bundle(models / "twin", name="alpha", seed=3)
    with pytest.raises(BundleError, match="two bundles are called alpha"):
        load_models(Settings(model=["alpha", str(twin)], model_dir=models, session_threads=1))
    with pytest.raises(BundleError, match="no folder"):
        load_models(Settings(model="alpha", model_dir=models / "none", session_threads=1))
