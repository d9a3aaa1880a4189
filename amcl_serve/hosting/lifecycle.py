"""Loader: brings models up, swaps them while requests go on, and takes them down.

    load(name)   open ▶ load ▶ a run at every batch size ▶ probe ▶ engine starts ▶ swap ▶ the old one is retired
    unload(name)                                                             out ▶ the old one is retired

All that can fail comes before the swap, so a failure leaves everything as it was. A model that is out of the registry
goes on for the requests that hold a lease of it; when the last has given it back, its engine stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from anyio import to_thread

from amcl_serve import machine
from amcl_serve.engine.engine import batch_sizes
from amcl_serve.errors import BundleError, Conflict, LoadFailed, ModelBusy, ModelNotFound, StartupError
from amcl_serve.hosting.opening import load_bundle, memory_needed, shipped_bundles
from amcl_serve.hosting.registry import DEFAULT, LoadedModel, Registry
from amcl_serve.machine import give_memory_back, mebibytes
from amcl_serve.model.bundle import CARD_FILE, Bundle
from amcl_serve.settings import Settings

Outcome = Literal["loaded", "replaced", "unchanged"]

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # as of a card

log = logging.getLogger("amcl_serve")


class Loader:
    """Starts, loads, unloads and stops the models of one registry; `watch` is told of each whose engine starts.

    All of it runs on the event loop that answers requests; what takes long does so in a thread.
    """

    def __init__(self, registry: Registry, settings: Settings, *, watch: Callable[[LoadedModel], None]) -> None:
        self.registry = registry
        self._settings = settings
        self._watch = watch
        self._busy: set[str] = set()
        # Where each name was found, so that a model from outside the model folder can be loaded again.
        self._folders = {model.name: model.bundle.folder for model in registry.all()}

    async def start(self) -> None:
        """Bring up every model of the registry; StartupError where one fails, and `stop` is still to be called."""
        for model in self.registry.all():
            await self._bring_up(model)
        await to_thread.run_sync(give_memory_back)  # loading takes more than what is loaded

    async def stop(self) -> None:
        """Stop every engine; each answers what it has admitted."""
        await asyncio.gather(*(model.engine.stop() for model in self.registry.all()))

    async def load(self, name: str) -> tuple[LoadedModel, Outcome]:
        """Load the bundle called `name`, or replace it if its folder now holds another; returns when the old one ended.

        It is looked for in the model folder, then where it was loaded from before, then among the shipped ones.
        Raises ModelNotFound, ModelBusy, and LoadFailed, after which all is as it was.
        """
        name = self._spelt_out(name)
        with self._reserved(name):
            folder = self._find(name)
            with _explained(name, folder):
                model = await to_thread.run_sync(self._open, name, folder)
                if model is None:
                    return self.registry.get(name), "unchanged"
                await self._bring_up(model)
            self._folders[name] = folder
            outcome: Outcome = "replaced" if name in self.registry else "loaded"
            await self._retire(self.registry.put(model))
            return model, outcome

    async def unload(self, name: str) -> None:
        """Take a model out; returns when its engine has ended. Raises ModelNotFound, ModelBusy, and Conflict for the
        default, which requests that name no model need.
        """
        name = self.registry.get(name).name
        if name == self.registry.default:
            raise Conflict(f"{name} answers requests that name no model: it can be replaced, not unloaded")
        with self._reserved(name):
            await self._retire(self.registry.remove(name))
            log.info("model %s is unloaded", name)

    def _spelt_out(self, name: str) -> str:
        return self.registry.default if name == DEFAULT else name

    @contextlib.contextmanager
    def _reserved(self, name: str) -> Iterator[None]:
        if name in self._busy:
            raise ModelBusy(f"{name} is being loaded or unloaded; try again when that has ended")
        self._busy.add(name)
        try:
            yield
        finally:
            self._busy.remove(name)

    def _find(self, name: str) -> Path:
        """The folder to load `name` from; only names come from requests, never paths."""
        if NAME.fullmatch(name):
            models = self._settings.model_dir
            for folder in (models and models / name, self._folders.get(name), shipped_bundles().get(name)):
                if folder is not None and (folder / CARD_FILE).is_file():
                    return folder
        raise ModelNotFound(f"there is no bundle {name[:64]!r} to load; put its folder into the server's --model-dir")

    def _open(self, name: str, folder: Path) -> LoadedModel | None:
        """In a thread: load what the folder holds; None if that is what answers already."""
        bundle = Bundle.open(folder)
        if bundle.card.name != name:
            raise BundleError(
                f"the folder {folder.name} holds a bundle called {bundle.card.name}; "
                "a bundle in the model folder lies in a folder of its own name"
            )
        loaded = self.registry.with_digest(bundle.digest)
        if loaded is not None and loaded.engine.healthy:
            return None
        need, found = memory_needed(bundle, self._settings), machine.memory()
        if found is not None and found.free < need:  # better refused than killed with all that runs
            raise StartupError(
                f"it takes about {mebibytes(need)}, and {mebibytes(found.free)} are left by {found.bound}"
            )
        return load_bundle(bundle, self._settings)

    async def _bring_up(self, model: LoadedModel) -> None:
        """Warm the model up, compare its probe with the card, start its engine."""
        await to_thread.run_sync(warm_up, model, self._settings.max_batch)
        await to_thread.run_sync(model.encoder.verify_probe)
        await model.engine.start()
        self._watch(model)
        log.info(
            "model %s %s: %s on %s", model.name, model.bundle.digest, model.encoder.precision, model.encoder.provider
        )

    async def _retire(self, model: LoadedModel | None) -> None:
        """Stop the engine once no request holds its model, or after the time that a request may take; free it all."""
        if model is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.request_deadline):
                await model.leases.all_given()
        await model.engine.stop()
        del model  # the caller has no name for it either: a reference here would keep its memory
        await to_thread.run_sync(give_memory_back)


def warm_up(model: LoadedModel, max_batch: int) -> None:
    """One run at every size: what the first requests would wait for, or fail by, comes before the model answers.

    Raises StartupError.
    """
    size = model.bundle.card.input.size
    for images in batch_sizes(max_batch):
        try:
            model.encoder.encode(np.zeros((images, size, size, 3), np.uint8))
        except Exception as error:  # onnxruntime's exceptions share no base class
            log.warning("model %s: a run of %d images failed: %s", model.name, images, error)
            raise StartupError(
                f"model {model.name} cannot embed {images} images at once on {model.encoder.provider}; "
                "lower --max-batch, or ask amcl-serve doctor"
            ) from error


@contextlib.contextmanager
def _explained(name: str, folder: Path) -> Iterator[None]:
    """Whatever fails in here becomes LoadFailed, which says why without the folder's path."""
    try:
        yield
    except StartupError as error:
        raise LoadFailed(f"{name} was not loaded: {error.detail.replace(str(folder), folder.name)}") from None
    except Exception:
        log.exception("loading model %s failed", name)
        raise LoadFailed(
            f"{name} was not loaded: it failed while it was tried out; the server's log says why"
        ) from None
