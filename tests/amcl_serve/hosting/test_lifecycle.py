from __future__ import annotations

import asyncio
import gc
import json
import shutil
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amcl_serve.errors import Conflict, ModelBusy, ModelNotFound
from amcl_serve.hosting import lifecycle as loading
from amcl_serve.hosting.lifecycle import Loader, batch_sizes
from amcl_serve.hosting.opening import find_bundle
from amcl_serve.hosting.registry import LoadedModel
from amcl_serve.model.encoder import Encoder
from amcl_serve.settings import Settings
from tests.amcl_serve.hosting.running import features, running
from tests.fakes import make_bundle


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
            registry = loader.registry
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
            registry = loader.registry
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
            old = loader.registry.get("beta")
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
            await features(loader.registry.get())
        return resident()

    async def scenario() -> None:
        async with running(tmp_path, folder.name, precision="int8") as loader:
            before = await swap(loader, 2)
            assert await swap(loader, 6) < before + 50

    asyncio.run(scenario())


def test_requests_under_way_end_on_the_old_model(models: Path) -> None:
    async def scenario() -> None:
        async with running(models, "alpha", "beta") as loader:
            registry = loader.registry
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
            with loader.registry.use("beta") as held:
                await loader.unload("beta")
                assert not held.engine.healthy

    asyncio.run(scenario())


def test_an_engine_that_does_not_run_is_replaced_by_the_same_bundle(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with running(models, "alpha", "beta") as loader:
            await loader.registry.get("beta").engine.stop()
            assert (await loader.load("beta"))[1] == "replaced"
            assert loader.registry.get("beta").engine.healthy

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
