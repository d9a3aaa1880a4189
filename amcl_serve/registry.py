"""Which models this server holds, by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amcl_serve.batching import Engine
from amcl_serve.bundle import CARD_FILE, MODELS_DIR, Bundle
from amcl_serve.encoder import Encoder
from amcl_serve.errors import BundleError, ModelNotFound
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
    """Open the bundle that `settings.model` names and load what answers for it; the engine is not started.

    Raises BundleError or ProviderUnavailable.
    """
    bundle = Bundle.open(find_bundle(settings.model))
    encoder = Encoder.load(
        bundle,
        precision=settings.precision,
        provider=settings.provider,
        session_threads=settings.session_threads,
    )
    scorer = PairScorer.load(bundle)
    return LoadedModel(bundle.card.name, bundle, encoder, scorer, Engine(encoder, settings=settings))


def find_bundle(name: str) -> Path:
    """The folder of a bundle: `name` is that folder, a bundle shipped in amcl_serve/models, or "default", the only one.

    Raises BundleError, listing what is shipped, when nothing fits.
    """
    folder = Path(name).expanduser()
    if (folder / CARD_FILE).is_file():
        return folder
    shipped = {card.parent.name: card.parent for card in sorted(MODELS_DIR.glob(f"*/{CARD_FILE}"))}
    if name == DEFAULT and len(shipped) == 1:
        return next(iter(shipped.values()))
    if name in shipped:
        return shipped[name]
    have = f"shipped are {', '.join(shipped)}" if shipped else "none is shipped"
    raise BundleError(f"no bundle {name!r}: name a folder with a {CARD_FILE}, as `python -m export` makes; {have}")
