"""How a bundle becomes a model: found by its name, opened, and loaded on the provider that the settings ask for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import onnxruntime as ort

from amcl_serve.engine.engine import Engine
from amcl_serve.errors import BundleError, ProviderUnavailable
from amcl_serve.hosting import calibrations
from amcl_serve.hosting.registry import DEFAULT, LoadedModel
from amcl_serve.model.bundle import CARD_FILE, MODELS_DIR, Bundle, Precision, probe_image
from amcl_serve.model.encoder import Encoder
from amcl_serve.model.pair_scorer import PairScorer
from amcl_serve.model.providers import (
    CPU,
    CUDA,
    Options,
    provider_names,
    provider_options,
    refuse_idle_options,
    unavailable,
)
from amcl_serve.model.sessions import left_to_the_cpu
from amcl_serve.settings import Settings

AUTO: Final = "auto"
# What a model takes at most while it is loaded, on a CPU, as times its encoder's file; measured: 2.2 (of 2 GiB) to 3.1,
# 5.2 to 6.4 (whose weights become float32), and 3.4.
TIMES_FILE: Final[Mapping[Precision, float]] = {"fp32": 3.5, "fp16": 6.5, "int8": 4}

log = logging.getLogger("amcl_serve")


def load_models(settings: Settings) -> list[LoadedModel]:
    """Every model that the settings name, in their order; the engines are not started.

    Raises BundleError or ProviderUnavailable.
    """
    if settings.model_dir is not None and not settings.model_dir.is_dir():
        raise BundleError(f"{settings.model_dir} is no folder; --model-dir is one that holds a folder for each bundle")
    models: dict[str, LoadedModel] = {}
    for name in settings.model:
        bundle = Bundle.open(find_bundle(name, settings.model_dir))
        if bundle.card.name in models:
            raise BundleError(
                f"two bundles are called {bundle.card.name}: {models[bundle.card.name].bundle.folder} and "
                f"{bundle.folder}; name one of them, or export one under another name"
            )
        models[bundle.card.name] = load_bundle(bundle, settings)
    return list(models.values())


def load_model(settings: Settings) -> LoadedModel:
    """The first of the models that the settings name; the engine is not started. Raises as `load_models`."""
    return load_bundle(Bundle.open(find_bundle(settings.model[0], settings.model_dir)), settings)


def load_bundle(bundle: Bundle, settings: Settings) -> LoadedModel:
    """Load what answers for an opened bundle, calibrated as its user left it; the engine is not started.

    Raises BundleError or ProviderUnavailable.
    """
    encoder, scorer = _load_encoder(bundle, settings), PairScorer.load(bundle)
    if (own := calibrations.kept(settings.data_dir, bundle.digest)) is not None:
        scorer.calibration = own.calibration
    return LoadedModel(bundle.card.name, bundle, encoder, scorer, Engine(encoder, settings=settings))


def memory_needed(bundle: Bundle, settings: Settings) -> int:
    """Bytes that a model takes while it is loaded, about; of its largest encoder where the provider decides."""
    chosen = bundle.precisions if settings.precision == AUTO else (settings.precision,)
    return int(max(TIMES_FILE[precision] * bundle.encoder_bytes(precision) for precision in chosen))


def find_bundle(name: str, model_dir: Path | None = None) -> Path:
    """The folder of a bundle. `name` is that folder, or a folder in `model_dir`, or a bundle shipped in
    amcl_serve/models; "default" is the only one that is shipped.

    Raises BundleError, listing what there is, when nothing fits.
    """
    folders = [Path(name).expanduser()] + ([] if model_dir is None else [model_dir / name])
    for folder in folders:
        if (folder / CARD_FILE).is_file():
            return folder
    shipped = shipped_bundles()
    if name == DEFAULT and len(shipped) == 1:
        return next(iter(shipped.values()))
    if name in shipped:
        return shipped[name]
    have = f"shipped are {', '.join(shipped)}" if shipped else "none is shipped"
    if model_dir is not None:
        have += f"; the model folder has {', '.join(_bundles(model_dir)) or 'none'}"
    raise BundleError(f"no bundle {name!r}: name a folder with a {CARD_FILE}, as `python -m export` makes; {have}")


def shipped_bundles() -> dict[str, Path]:
    """The folders of the bundles in the package, by name."""
    return _bundles(MODELS_DIR)


def _bundles(folder: Path) -> dict[str, Path]:
    return {card.parent.name: card.parent for card in sorted(folder.glob(f"*/{CARD_FILE}"))}


def _load_encoder(bundle: Bundle, settings: Settings) -> Encoder:
    """The encoder on the provider that the settings ask for; on one that they require, or not at all."""
    required = settings.require_provider
    wanted = required if required is not None and settings.provider == AUTO else settings.provider
    options = provider_options(settings.provider_options)
    encoder = _auto(bundle, settings, options) if wanted == AUTO else _on(wanted, bundle, settings, options)
    if required is not None and encoder.provider != (name := provider_names(required)[0]):
        raise ProviderUnavailable(
            f"the provider {name} is required, and {encoder.provider} was asked for: "
            "give --provider and --require-provider the same name, or only the second"
        )
    return encoder


def _auto(bundle: Bundle, settings: Settings, options: Options) -> Encoder:
    """On CUDA where it loads, else on the CPU; never in silence where this onnxruntime is built for CUDA."""
    refuse_idle_options(options, (CUDA,), AUTO)
    if CUDA in ort.get_available_providers():
        try:
            return _on(CUDA, bundle, settings, options)
        except ProviderUnavailable as error:
            log.warning("model %s runs on the CPU: %s", bundle.card.name, error.detail)
    return _on(CPU, bundle, settings, {})


def _on(provider: str, bundle: Bundle, settings: Settings, options: Options) -> Encoder:
    refuse_idle_options(options, provider_names(provider), provider)
    encoder = Encoder.load(
        bundle,
        precision=settings.precision,
        provider=provider,
        options=options,
        session_threads=settings.session_threads,
    )
    if encoder.provider != CPU:  # CUDA looks for a part of its libraries, cuDNN for one, when it first runs
        try:
            encoder.encode(probe_image(bundle.card.input.size)[None])
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise unavailable(encoder.provider, "it loads and cannot run the model") from error
    placed = encoder.placement
    if placed is not None and (left := left_to_the_cpu(placed)):
        log.warning("model %s on %s: %s", bundle.card.name, encoder.provider, left)
    return encoder
