"""Which models answer, by name, and who holds them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from amcl_serve.engine.engine import Engine
from amcl_serve.errors import ModelNotFound
from amcl_serve.model.bundle import Bundle
from amcl_serve.model.encoder import Encoder
from amcl_serve.model.pair_scorer import PairScorer

DEFAULT = "default"


class Leases:
    """How many requests hold a model. All on the event loop that answers them."""

    def __init__(self) -> None:
        self.taken = 0
        self._waiting: list[asyncio.Future[None]] = []

    def take(self) -> None:
        """One more."""
        self.taken += 1

    def give(self) -> None:
        """One less; with the last, whoever waits goes on."""
        self.taken -= 1
        if not self.taken:
            for waiter in self._waiting:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiting.clear()

    async def all_given(self) -> None:
        """Until nobody holds the model."""
        if self.taken:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter


@dataclass(frozen=True)
class LoadedModel:
    """A bundle with all that answers for it."""

    name: str  # the card's
    bundle: Bundle
    encoder: Encoder
    scorer: PairScorer
    engine: Engine
    leases: Leases = field(default_factory=Leases, compare=False)

    @contextmanager
    def lease(self) -> Iterator[LoadedModel]:
        """Hold the model: its engine runs on, within a request's deadline, though another may have taken its place."""
        self.leases.take()
        try:
            yield self
        finally:
            self.leases.give()


class Registry:
    """The models that requests can name. The first is the default, and stays so when it is replaced."""

    def __init__(self, *models: LoadedModel) -> None:
        self._models = {model.name: model for model in models}

    @property
    def default(self) -> str:
        """Name of the model that answers requests which name none."""
        return next(iter(self._models))

    def get(self, name: str | None = None) -> LoadedModel:
        """The model of that name, to be looked at; None and "default" mean the first. Raises ModelNotFound."""
        if name in (None, DEFAULT):
            name = self.default
        if name not in self._models:
            have = ", ".join(map(repr, self._models))
            raise ModelNotFound(f"no model {name[:64]!r} is loaded; this server has {have}")
        return self._models[name]

    def use(self, name: str | None = None) -> AbstractContextManager[LoadedModel]:
        """The model of that name, held as long as a `with` block lasts. Raises as `get`."""
        return self.get(name).lease()

    def __contains__(self, name: str) -> bool:
        return name in self._models

    def with_digest(self, digest: str) -> LoadedModel | None:
        """The model whose bundle has that digest, if there is one."""
        return next((model for model in self._models.values() if model.bundle.digest == digest), None)

    def all(self) -> list[LoadedModel]:
        """Every model, the default first."""
        return list(self._models.values())

    def put(self, model: LoadedModel) -> LoadedModel | None:
        """Let `model` answer from now on; what answered to its name is given back."""
        old = self._models.get(model.name)
        self._models = {**self._models, model.name: model}  # a new one: threads may be reading the other
        return old

    def remove(self, name: str) -> LoadedModel:
        """Take the model of that name out and give it back; it is not the default."""
        assert name != self.default
        model = self._models[name]
        self._models = {key: value for key, value in self._models.items() if key != name}
        return model
