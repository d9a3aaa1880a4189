"""A run of ours as a source: backbone, heads and temperature from its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from amcl_serve.model.bundle import InputSpec, TemperatureSpec
from export.errors import UsageError
from export.graphs.traced import ServedEncoder, write_encoder, write_temperature
from export.networks import Network, torch_network
from export.sources import About
from export.whiten import Whitening
from training.config import Config, to_dict
from training.model.backbones import check_size
from training.model.model import AmclModel
from training.model.model import untrained as untrained_model
from training.run.checkpoint import load_model


class CheckpointSource:
    """The network of a training run, served at `size` pixels a side (None: at those of training)."""

    def __init__(self, model: AmclModel, config: Config, size: int | None = None) -> None:
        self._model, self._config = model, config
        self._served = served(model, config, size)
        self.spec = InputSpec(size=self._served.size)
        self.about = _about(model, config)

    @classmethod
    def open(cls, checkpoint: Path, size: int | None) -> CheckpointSource:
        """Read `checkpoint`, a run's folder or its file; UsageError where that is none or `size` does not suit it."""
        try:
            model, config = load_model(checkpoint)
        except ValueError as error:
            raise UsageError(f"--checkpoint: {error}") from None
        if size not in (None, config.data.image_size) and config.backbone.name == "vit":
            raise UsageError(f"--image-size {size}: a ViT keeps the {config.data.image_size} pixels it was trained at")
        if size is not None and config.backbone.named:
            try:
                check_size(model.backbone, size, config.backbone.name)
            except ValueError as error:
                raise UsageError(f"--image-size {size}: {error}") from None
        return cls(model, config, size)

    @property
    def reference(self) -> tuple[Network, str]:
        """PyTorch."""
        return torch_network(self._served), "PyTorch"

    def whiten(self, whitening: Whitening) -> None:
        """Give the encoder a last layer."""
        self._served.whiten(whitening)

    def write(self, path: Path) -> None:
        """Write features and heads."""
        write_encoder(self._served, path)

    def write_temperature(self, path: Path) -> None:
        """Write the temperature."""
        write_temperature(self._model, path)

    def untrained(self) -> CheckpointSource:
        """The network of the config with weights from seed 0 and batch norms at their initial statistics."""
        return untrained(self._config, self.spec.size)


def served(model: AmclModel, config: Config, size: int | None = None) -> ServedEncoder:
    """What a bundle of `model` computes, with images of `size` pixels a side."""
    return ServedEncoder(model, config.data.mean, config.data.std, size or config.data.image_size)


def untrained(config: Config, size: int) -> CheckpointSource:
    """The network of `config` before training (weights from seed 0, batch norms at their initial statistics).

    It sees images of `size` pixels a side.
    """
    return CheckpointSource(untrained_model(config), config, size)


def _about(model: AmclModel, config: Config) -> About:
    t = config.temperature
    adaptive = t.varies_between_images
    low, high = (t.low, t.high) if adaptive else (t.value, t.value)
    return About(
        method=config.recipe,
        recipe=config.recipe,
        config=_shareable(config),
        backbone=config.backbone.name,
        feature_dim=model.feature_dim,
        num_heads=model.num_heads,
        head_dim=model.head_dim,
        temperature=TemperatureSpec(kind="adaptive" if adaptive else "constant", low=low, high=high, value=t.value),
        omega=(t.beta, t.eta),
        whitening="half",
        training_data=data_name(config.data.spec) or "not stated",
    )


def data_name(spec: str) -> str:
    """`folder:/home/someone/photos` -> `folder:photos`: a bundle travels, its author's paths need not."""
    kind, sign, path = spec.partition(":")
    return f"{kind}:{Path(path).name}" if sign else spec


def _shareable(config: Config) -> dict[str, Any]:
    raw = to_dict(config)
    raw["data"]["spec"] = data_name(config.data.spec)
    raw["data"]["eval_spec"] = data_name(config.data.eval_spec)
    return raw
