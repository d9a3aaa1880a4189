"""Which models this server holds, by name."""

from __future__ import annotations

from dataclasses import dataclass

from amcl_serve.batching import Engine
from amcl_serve.bundle import Bundle
from amcl_serve.encoder import Encoder
from amcl_serve.errors import ModelNotFound
from amcl_serve.pairs import PairScorer
from amcl_serve.settings import Settings

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
    """The models that requests can name; this version holds one."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model

    def get(self, name: str | None = None) -> LoadedModel:
        """The model of that name; None and "default" mean the only one. Raises ModelNotFound for any other."""
        if name in (None, DEFAULT, self._model.name):
            return self._model
        raise ModelNotFound(f"no model {name!r} is loaded; this server has {self._model.name!r}")

    def all(self) -> list[LoadedModel]:
        """Every model."""
        return [self._model]


def load_model(settings: Settings) -> LoadedModel:
    """Open the bundle that `settings.model` names and load what answers for it; the engine is not started."""
    raise NotImplementedError
