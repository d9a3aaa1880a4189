from __future__ import annotations

import asyncio
import gc
import json
import shutil
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amcl_serve import machine
from amcl_serve.engine.engine import Engine
from amcl_serve.engine.submissions import Embedded
from amcl_serve.errors import BundleError, Conflict, LoadFailed, ModelBusy, ModelNotFound
from amcl_serve.hosting import lifecycle as loading
from amcl_serve.hosting.lifecycle import Loader, batch_sizes
from amcl_serve.hosting.opening import find_bundle, load_models
from amcl_serve.hosting.registry import LoadedModel, Registry
from amcl_serve.machine import Memory
from amcl_serve.model.encoder import Encoder
from amcl_serve.settings import Settings
from tests.amcl_serve.http.conftest import picture
from tests.fakes import make_bundle


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A model folder with `alpha` and `beta`."""
    for seed, name in enumerate(("alpha", "beta")):
        make_bundle(tmp_path / "models" / name, name=name, seed=seed)
    return tmp_path / "models"


@asynccontextmanager
async def running(models: Path, *names: str, **settings: Any) -> AsyncIterator[Loader]:
    """A loader with these models up; its registry is `loader._registry`."""
    chosen = Settings(model=names, model_dir=models, session_threads=1, decode_threads=1, **settings)
    loader = Loader(Registry(*load_models(chosen)), chosen, watch=lambda _: None)
    try:
        await loader.start()
        yield loader
    finally:
        await loader.stop()


def registry_of(loader: Loader) -> Registry:
    return loader._registry


async def features(model: LoadedModel) -> list[float]:
    (item,) = (await model.engine.embed([picture(1)])).items
    assert isinstance(item, Embedded)
    return item.features.tolist()


def test_sizes_to_warm_up_with() -> None:
    assert batch_sizes(1) == [1]
    assert batch_sizes(8) == [1, 2, 4, 8]
    assert batch_sizes(12) == [1, 2, 4, 8, 12]


def test_models_are_warmed_up_at_every_size_and_checked_before_they_answer(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    encode = Encoder.encode

    def noted(self: Encoder, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Any:
        sizes.append(len(pixels))
        return encode(self, pixels)

    monkeypatch.setattr(Encoder, "encode", noted)

    async def scenario() -> None:
        async with running(models, "alpha", max_batch=4) as loader:
            assert sizes == [1, 2, 4, 1]  # the last is the probe
            await loader.load("beta")
            assert sizes == [1, 2, 4, 1] * 2

    asyncio.run(scenario())


def test_load_replace_and_unload(models: Path) -> None:
    async def scenario() -> None:
        async with running(models, "alpha") as loader:
            registry = registry_of(loader)
            assert (await loader.load("beta"))[1] == "loaded"
            assert [model.name for model in registry.all()] == ["alpha", "beta"]
            assert (await loader.load("beta"))[1] == "unchanged"
            before = await features(registry.get("beta"))
            make_bundle(models / "beta", name="beta", seed=7)
            model, outcome = await loader.load("beta")
            assert (outcome, registry.get("beta")) == ("replaced", model)
            assert await features(model) != before
            await loader.unload("beta")
            with pytest.raises(ModelNotFound, match="'beta' is loaded; this server has 'alpha'"):
                registry.get("beta")
            assert not model.engine.healthy
            assert (await loader.load("beta"))[1] == "loaded"

    asyncio.run(scenario())


def test_the_default_is_replaced_in_its_place_and_never_unloaded(models: Path) -> None:
    async def scenario() -> None:
        async with running(models, "alpha", "beta") as loader:
            registry = registry_of(loader)
            make_bundle(models / "alpha", name="alpha", seed=7)
            model, outcome = await loader.load("default")
            assert (outcome, registry.get(), registry.default) == ("replaced", model, "alpha")
            for name in ("alpha", "default"):
                with pytest.raises(Conflict, match="alpha answers requests that name no model"):
                    await loader.unload(name)
            assert registry.get().engine.healthy

    asyncio.run(scenario())


@pytest.mark.parametrize("change", ["replace", "unload"])
def test_a_model_that_went_is_freed(models: Path, change: str) -> None:
    async def scenario() -> None:
        async with running(models, "alpha", "beta") as loader:
            old = registry_of(loader).get("beta")
            await features(old)
            parts = [weakref.ref(part) for part in (old, old.engine, old.encoder, old.encoder._session)]
            del old
            if change == "replace":
                make_bundle(models / "beta", name="beta", seed=7)
                await loader.load("beta")
            else:
                await loader.unload("beta")
            gc.collect()
            assert [part() for part in parts] == [None] * len(parts)

    asyncio.run(scenario())


def test_swaps_do_not_add_up_in_memory(tmp_path: Path) -> None:
    """Of the default model, whose 12 MB take 40 in memory: without giving memory back each swap would add 17 MB."""
    source = find_bundle("default")
    folder = tmp_path / source.name
    shutil.copytree(source, folder)

    def resident() -> int:
        (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmRSS:"))
        return int(line.split()[1]) // 1024

    async def swap(loader: Loader, times: int) -> int:
        for _ in range(times):
            card = json.loads((folder / "card.json").read_text())
            card["notes"].append("changed")
            (folder / "card.json").write_text(json.dumps(card))
            assert (await loader.load(folder.name))[1] == "replaced"
            await features(registry_of(loader).get())
        return resident()

    async def scenario() -> None:
        async with running(tmp_path, folder.name, precision="int8") as loader:
            before = await swap(loader, 2)
            assert await swap(loader, 6) < before + 50

    asyncio.run(scenario())


def test_requests_under_way_end_on_the_old_model(models: Path) -> None:
    async def scenario() -> None:
        async with running(models, "alpha", "beta") as loader:
            registry = registry_of(loader)
            with registry.use("beta") as old, registry.use("beta"):  # as requests do that have not come to their images
                before = await features(old)
                make_bundle(models / "beta", name="beta", seed=7)
                swap = asyncio.create_task(loader.load("beta"))
                while registry.get("beta") is old:
                    await asyncio.sleep(0.01)
                assert await features(registry.get("beta")) != before
                assert await features(old) == before
                assert not swap.done()
                assert old.engine.healthy
                assert (old.leases.taken, registry.get("beta").leases.taken) == (2, 0)
            assert (await swap)[1] == "replaced"
            assert old.leases.taken == 0
            assert not old.engine.healthy

    asyncio.run(scenario())


def test_a_request_that_holds_a_model_for_ever_does_not_keep_its_engine(models: Path) -> None:
    async def scenario() -> None:
        async with running(models, "alpha", "beta", request_deadline=0.2) as loader:
            with registry_of(loader).use("beta") as held:
                await loader.unload("beta")
                assert not held.engine.healthy

    asyncio.run(scenario())


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
            old = registry_of(loader).get("beta")
            before = await features(old)
            alter(models / "beta")
            with pytest.raises(LoadFailed, match=said) as caught:
                await loader.load("beta")
            assert str(models) not in caught.value.detail
            assert registry_of(loader).get("beta") is old
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
            old = registry_of(loader).get("beta")
            make_bundle(models / "beta", name="beta", seed=7)
            with monkeypatch.context() as patch:
                patch.setattr(broken, method, fail)
                with pytest.raises(LoadFailed, match=said) as caught:
                    await loader.load("beta")
            assert "/secret" not in caught.value.detail
            assert registry_of(loader).get("beta") is old
            await features(old)

    asyncio.run(scenario())


def test_a_model_that_memory_does_not_hold_is_refused(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with running(models, "alpha", "beta") as loader:
            old = registry_of(loader).get("beta")
            make_bundle(models / "beta", name="beta", seed=7)
            monkeypatch.setattr(machine, "memory", lambda: Memory(2000, "the control group's limit of 9 MiB"))
            with pytest.raises(
                LoadFailed, match="it takes about 0 MiB, and 0 MiB are left by the control group's limit"
            ):
                await loader.load("beta")
            assert registry_of(loader).get("beta") is old
            monkeypatch.setattr(machine, "memory", lambda: None)  # not known
            assert (await loader.load("beta"))[1] == "replaced"

    asyncio.run(scenario())


def fail(*_: object) -> None:
    raise RuntimeError("no memory for /secret")


def test_an_engine_that_does_not_run_is_replaced_by_the_same_bundle(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with running(models, "alpha", "beta") as loader:
            await registry_of(loader).get("beta").engine.stop()
            assert (await loader.load("beta"))[1] == "replaced"
            assert registry_of(loader).get("beta").engine.healthy

    asyncio.run(scenario())


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


def test_one_change_of_a_name_at_a_time(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_bundle(models / "gamma", name="gamma", seed=3)
    started, go_on = threading.Event(), threading.Event()
    load_bundle = loading.load_bundle

    def slow(bundle: Any, settings: Settings) -> LoadedModel:
        if bundle.card.name == "beta":
            started.set()
            go_on.wait(10)
        return load_bundle(bundle, settings)

    monkeypatch.setattr(loading, "load_bundle", slow)

    async def scenario() -> None:
        async with running(models, "alpha", "beta") as loader:
            make_bundle(models / "beta", name="beta", seed=7)
            first = asyncio.create_task(loader.load("beta"))
            await asyncio.to_thread(started.wait, 10)
            for change in (loader.load, loader.unload):
                with pytest.raises(ModelBusy, match="beta is being loaded or unloaded"):
                    await change("beta")
            assert (await loader.load("gamma"))[1] == "loaded"
            go_on.set()
            assert (await first)[1] == "replaced"
            await loader.unload("beta")

    asyncio.run(scenario())


def test_two_bundles_of_one_name_are_refused(models: Path) -> None:
    twin = make_bundle(models / "twin", name="alpha", seed=3)
    with pytest.raises(BundleError, match="two bundles are called alpha"):
        load_models(Settings(model=["alpha", str(twin)], model_dir=models, session_threads=1))
    with pytest.raises(BundleError, match="no folder"):
        load_models(Settings(model="alpha", model_dir=models / "none", session_threads=1))
