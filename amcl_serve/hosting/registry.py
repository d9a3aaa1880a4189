"""Which models answer, by name."""

from __future__ import annotations

from dataclasses import dataclass

from amcl_serve.engine.engine import Engine
from amcl_serve.errors import ModelNotFound
from amcl_serve.model.bundle import Bundle
from amcl_serve.model.encoder import Encoder
from amcl_serve.model.pair_scorer import PairScorer

DEFAULT = "default"


@dataclass(frozen=True)
class LoadedModel:
    """A bundle with all that answers for it."""

    name: str  # the card's
    bundle: Bundle
    encoder: Encoder
    scorer: PairScorer
    engine: Engine


class Registry:
    """The models that requests can name. The first is the default, and stays so when it is replaced."""

    def __init__(self, *models: LoadedModel) -> None:
        self._models = {model.name: model for model in models}

    @property
    def default(self) -> str:
        """Name of the model that answers requests which name none."""
        return next(iter(self._models))

    def get(self, name: str | None = None) -> LoadedModel:
        """The model of that name; None and "default" mean the first. Raises ModelNotFound for any other."""
        if name in (None, DEFAULT):
            name = self.default
        if name not in self._models:
            have = ", ".join(map(repr, self._models))
            raise ModelNotFound(f"no model {name[:64]!r} is loaded; this server has {have}")
        return self._models[name]

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
