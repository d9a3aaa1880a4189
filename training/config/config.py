"""The typed configuration of a run, and its reading from KEY=VALUE, from JSON, and back. Unknown keys are errors."""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from training.config import values

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PUBLISHED_AUGMENTATIONS = ("simclr", "moco", "simsiam", "barlow_twins", "lgp", "can")


@dataclass(frozen=True)
class DataConfig:
    """Where images come from and how they enter the network."""

    spec: str = field(default="", metadata={"help": "set by --data"})
    eval_spec: str = field(default="", metadata={"help": "set by --eval"})
    image_size: int = field(default=64, metadata={"help": "pixels a side", "min": 8, "max": 1024})
    mean: tuple[float, float, float] = field(default=IMAGENET_MEAN, metadata={"help": "channel means, 0 to 1"})
    std: tuple[float, float, float] = field(default=IMAGENET_STD, metadata={"help": "channel deviations, 0 to 1"})
    early_size: int = field(
        default=0, metadata={"help": "pixels a side in the first steps (ResNets); 0: image_size in all", "min": 0}
    )
    early_share: float = field(default=0.75, metadata={"help": "share of the steps at early_size", "min": 0, "max": 1})
    workers: int = field(default=2, metadata={"help": "processes that read and crop images", "min": 0, "max": 256})
    resident: Literal["auto", "always", "never"] = field(
        default="auto", metadata={"help": "keep all images on the device; auto: small ones of one size that fit"}
    )


@dataclass(frozen=True)
class AugmentConfig:
    """Kinds, as on the poster: a crop, b blur, c colour dropping, d colour distortion, e flip."""

    kinds: str = field(
        default="acde",
        metadata={
            "help": "letters of: a crop, b blur, c grey, d colour jitter, e flip; or a published set: "
            + ", ".join(PUBLISHED_AUGMENTATIONS)
        },
    )
    crop_min_scale: float = field(default=0.2, metadata={"help": "smallest crop, of the area", "above": 0, "max": 1})
    jitter_strength: float = field(default=0.5, metadata={"help": "SimCLR's: 1; on CIFAR 0.5", "min": 0})


@dataclass(frozen=True)
class BackboneConfig:
    """The network that is kept."""

    name: Literal["resnet18", "resnet34", "resnet50", "vit"] = field(
        default="resnet18", metadata={"help": "architecture: resnet18, resnet34, resnet50, vit"}
    )
    stem: Literal["cifar", "small", "imagenet"] = field(
        default="small",
        metadata={"help": "ResNet: cifar: 3x3 stride 1; small: 3x3 stride 2; imagenet: 7x7 stride 2 and max-pool"},
    )
    width: int = field(
        default=64,
        metadata={"help": "ResNet: channels of the first stage; ViT: width of a token", "min": 4, "max": 2048},
    )
    depth: int = field(default=12, metadata={"help": "ViT: blocks", "min": 1, "max": 64})
    attention_heads: int = field(default=3, metadata={"help": "ViT: attention heads, a divisor of width", "min": 1})
    patch: int = field(default=8, metadata={"help": "ViT: side of a patch, a divisor of data.image_size", "min": 1})


@dataclass(frozen=True)
class HeadsConfig:
    """C heads of the same architecture and separate weights: a projector each, or predictors on one projector."""

    num: int = field(default=1, metadata={"help": "C", "min": 1, "max": 16})
    layers: int = field(default=2, metadata={"help": "linear layers of a projector", "min": 1, "max": 4})
    hidden: int = field(default=512, metadata={"help": "width of its hidden layers", "min": 1})
    dim: int = field(default=128, metadata={"help": "d', the width of a head's output", "min": 2})
    last_norm: bool = field(default=False, metadata={"help": "batch norm after a projector's last layer too"})
    predictor_hidden: int = field(default=0, metadata={"help": "hidden width of a predictor; 0: none", "min": 0})
    shared_projector: bool = field(default=False, metadata={"help": "one projector for all heads (SimSiam)"})


@dataclass(frozen=True)
class TemperatureConfig:
    """The temperature: one constant, or a function of head and pair within (low, high)."""

    kind: Literal["constant", "adaptive"] = field(default="constant", metadata={"help": "constant or adaptive"})
    of: Literal["pairs", "views", "similarity", "channels"] = field(
        default="pairs",
        metadata={"help": "pairs or views of images, learned; their similarity, fixed; channels (Barlow Twins)"},
    )
    value: float = field(default=0.1, metadata={"help": "the constant; the level of adaptive ones", "above": 0})
    low: float = field(default=0.03, metadata={"help": "lower bound of adaptive temperatures", "above": 0})
    high: float = field(default=0.5, metadata={"help": "upper bound of adaptive temperatures", "above": 0})
    beta: float = field(default=1.0, metadata={"help": "weight of the regulariser Omega", "min": 0})
    eta: float = field(default=4.0, metadata={"help": "Omega(t) = eta log t + 1/t", "min": 0})
    hidden: int = field(default=128, metadata={"help": "width of the shared MLP phi", "min": 1})
    dim: int = field(default=32, metadata={"help": "width of phi's output", "min": 1})

    @property
    def varies_between_images(self) -> bool:
        """Whether pairs of images have temperatures of their own, which an exported model then serves."""
        return self.kind == "adaptive" and self.of != "channels"


@dataclass(frozen=True)
class LossConfig:
    """Which candidates the positive is set against, and who judges them."""

    heads: Literal["separate", "joint"] = field(
        default="separate",
        metadata={
            "help": "separate: a loss for each head; joint: one for all, whose logits add up (not SimSiam, Barlow)"
        },
    )
    negatives: Literal["posterior", "topk", "max"] = field(
        default="posterior",
        metadata={"help": "posterior: all candidates; topk: the top_k most similar; max: only the most similar"},
    )
    top_k: int = field(default=16, metadata={"help": "candidates of negatives=topk", "min": 1})
    positive_in_denominator: bool = field(default=True, metadata={"help": "false: the poster's NT-Xent"})
    redundancy: float = field(
        default=5e-3, metadata={"help": "Barlow Twins: lambda, weight of the off-diagonal", "min": 0}
    )


@dataclass(frozen=True)
class MomentumConfig:
    """The momentum encoder of MoCo and LGP, and MoCo's queue of keys."""

    start: float = field(default=0.99, metadata={"help": "momentum of the encoder's average", "min": 0, "max": 1})
    end: float = field(default=0.99, metadata={"help": "its value at the end of the schedule", "min": 0, "max": 1})
    queue: int = field(default=4096, metadata={"help": "MoCo: keys kept", "min": 1})
    symmetric: bool = field(default=True, metadata={"help": "MoCo: both views are queries in turn"})
    splits: int = field(
        default=8, metadata={"help": "MoCo: shuffled parts of the keys, each with a batch norm of its own", "min": 1}
    )


@dataclass(frozen=True)
class MaskedConfig:
    """Masked patches and their decoder: LGP's first stage (MAE) and CAN."""

    ratio: float = field(
        default=0.75, metadata={"help": "share of the patches that are hidden", "above": 0, "max": 0.95}
    )
    decoder_width: int = field(default=128, metadata={"help": "width of a decoder token", "min": 4})
    decoder_depth: int = field(default=2, metadata={"help": "blocks of the decoder", "min": 1})
    decoder_heads: int = field(default=4, metadata={"help": "its attention heads, a divisor of its width", "min": 1})
    epochs: int = field(default=100, metadata={"help": "LGP: epochs of the first stage", "min": 1})
    lower_rate: float = field(
        default=0.1, metadata={"help": "LGP: learning rate of the lower two thirds, of the upper's", "min": 0, "max": 1}
    )
    contrast: float = field(default=0.03, metadata={"help": "CAN: weight of InfoNCE", "min": 0})
    reconstruction: float = field(default=0.67, metadata={"help": "CAN: weight of hidden patches", "min": 0})
    noise: float = field(default=0.30, metadata={"help": "CAN: weight of the noise's prediction", "min": 0})
    noise_max: float = field(default=0.05, metadata={"help": "CAN: the noise's largest deviation", "min": 0})


@dataclass(frozen=True)
class TrainConfig:
    """Length, optimiser and bookkeeping."""

    epochs: int = field(default=200, metadata={"help": "length of the schedule", "min": 1})
    max_steps: int = field(default=0, metadata={"help": "stop early, schedule unbent; 0: never", "min": 0})
    batch_size: int = field(default=256, metadata={"help": "images a step, of all processes; two views each", "min": 2})
    seed: int = field(default=0, metadata={"help": "of weights, order and augmentation", "min": 0})
    optimiser: Literal["sgd", "lars", "adamw"] = field(default="sgd", metadata={"help": "sgd, lars or adamw"})
    lr: float = field(default=0.06, metadata={"help": "rate at batch 128; scaled by batch_size/128", "above": 0})
    momentum: float = field(default=0.9, metadata={"help": "of SGD and LARS; AdamW's first", "min": 0, "max": 1})
    weight_decay: float = field(default=5e-4, metadata={"help": "not on biases, norms, temperatures", "min": 0})
    warmup_epochs: float = field(default=0.0, metadata={"help": "linear warm-up before the cosine", "min": 0})
    clip_norm: float = field(default=5.0, metadata={"help": "gradient norm is cut to this; 0: never", "min": 0})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda"})
    precision: Literal["auto", "fp32", "bf16"] = field(
        default="auto", metadata={"help": "bf16 autocast; auto: where the device computes it natively"}
    )
    compile: bool = field(default=False, metadata={"help": "torch.compile the ResNet: minutes at first, faster steps"})
    threads: int = field(default=0, metadata={"help": "CPU threads; 0: all cores", "min": 0})
    log_every: int = field(default=20, metadata={"help": "steps between lines of metrics.jsonl", "min": 1})
    checkpoint_every: int = field(default=200, metadata={"help": "steps between checkpoints", "min": 1})
    collapse_patience: int = field(
        default=50, metadata={"help": "readings in a row that show collapse and end the run; 0: only warn", "min": 0}
    )


@dataclass(frozen=True)
class EvalConfig:
    """kNN of the backbone on the labelled --eval images."""

    every: int = field(default=1, metadata={"help": "epochs between kNN evaluations; 0: only at the end", "min": 0})
    k: int = field(default=20, metadata={"help": "neighbours", "min": 1})
    bank_limit: int = field(default=50_000, metadata={"help": "images of a train/ split used as the bank", "min": 1})


@dataclass(frozen=True)
class Config:
    """A whole run; recipes (`training.config.recipes`) return one."""

    recipe: str
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    temperature: TemperatureConfig = field(default_factory=TemperatureConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    momentum: MomentumConfig = field(default_factory=MomentumConfig)
    masked: MaskedConfig = field(default_factory=MaskedConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)


def to_dict(config: Config) -> dict[str, Any]:
    """The config as nested JSON-able dictionaries; tuples become lists."""
    raw = dataclasses.asdict(config)
    for section in raw.values():
        if isinstance(section, dict):
            section.update({key: list(value) for key, value in section.items() if isinstance(value, tuple)})
    return raw


def from_dict(raw: Mapping[str, Any]) -> Config:
    """The inverse of `to_dict`. ValueError on an unknown key or a value of the wrong kind."""
    config = Config(recipe=str(raw.get("recipe", "")))
    pairs = []
    for section, table in raw.items():
        if section == "recipe":
            continue
        if not isinstance(table, Mapping):
            raise ValueError(f"config: {section} must be a table of keys")
        pairs += [(f"{section}.{key}", value) for key, value in table.items()]
    return _replace(config, pairs)


def override(config: Config, assignments: Sequence[str]) -> Config:
    """Apply KEY=VALUE strings such as `train.epochs=10`. ValueError names the key, what was given and what is right."""
    pairs = []
    for text in assignments:
        key, sign, value = text.partition("=")
        if not sign:
            raise ValueError(f"{text!r} is not KEY=VALUE, such as train.epochs=10")
        pairs.append((key.strip(), value.strip()))
    return _replace(config, pairs)


def flatten(config: Config) -> dict[str, Any]:
    """`{"train.epochs": 200, …}` of every key but the recipe."""
    return {f"{s}.{f.name}": getattr(getattr(config, s), f.name) for s, f in _fields()}


def describe(config: Config) -> Iterator[tuple[str, str, str]]:
    """(key, value in this config, help) of every key, in order."""
    for section, item in _fields():
        value = getattr(getattr(config, section), item.name)
        yield f"{section}.{item.name}", values.show(value), item.metadata["help"]


def validate(config: Config) -> Config:
    """Check what spans several keys; returns the config. ValueError with a sentence."""
    t = config.temperature
    if t.kind == "adaptive" and not t.low < t.value < t.high:
        raise ValueError(f"temperature.value={t.value} must lie inside (low={t.low}, high={t.high})")
    if (t.of == "channels") != (config.recipe == "barlow_twins"):
        raise ValueError(
            f"temperature.of={t.of} does not suit {config.recipe}: channels are barlow_twins', the rest the others'"
        )
    if config.loss.heads == "joint" and config.recipe in ("simsiam", "barlow_twins"):
        raise ValueError(f"loss.heads=joint needs candidates to judge, and {config.recipe} has none; leave it out")
    d = config.data
    if d.early_size and not 8 <= d.early_size <= d.image_size:
        raise ValueError(f"data.early_size={d.early_size} must lie between 8 and data.image_size={d.image_size}")
    kinds, b = config.augment.kinds, config.backbone
    if kinds not in PUBLISHED_AUGMENTATIONS and not set(kinds) <= set("abcde"):
        raise ValueError(
            f"augment.kinds={kinds!r} holds other letters than a, b, c, d, e "
            f"and is none of {', '.join(PUBLISHED_AUGMENTATIONS)}"
        )
    if config.heads.shared_projector and not config.heads.predictor_hidden:
        raise ValueError("heads.shared_projector=true needs predictors: heads.predictor_hidden above 0")
    if b.name == "vit":
        if d.early_size:
            raise ValueError("data.early_size is for ResNets; leave it out with backbone.name=vit")
        if config.train.compile:
            raise ValueError("train.compile=true is for ResNets; leave it out with backbone.name=vit")
        for whole, part, of in (
            (config.data.image_size, b.patch, "data.image_size and backbone.patch"),
            (b.width, b.attention_heads, "backbone.width and backbone.attention_heads"),
            (config.masked.decoder_width, config.masked.decoder_heads, "masked.decoder_width and masked.decoder_heads"),
            (b.width, 4, "backbone.width, for its 2-D positions"),
            (config.masked.decoder_width, 4, "masked.decoder_width, for its 2-D positions"),
        ):
            if whole % part:
                raise ValueError(f"{of}: {whole} is no multiple of {part}")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", config.train.device):
        raise ValueError(f"train.device={config.train.device!r} is none of auto, cpu, cuda, cuda:N")
    if min(config.data.std) <= 0:
        raise ValueError("data.std must be positive")
    return config


_SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "augment": AugmentConfig,
    "backbone": BackboneConfig,
    "heads": HeadsConfig,
    "temperature": TemperatureConfig,
    "loss": LossConfig,
    "momentum": MomentumConfig,
    "masked": MaskedConfig,
    "train": TrainConfig,
    "eval": EvalConfig,
}


def _fields() -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    for section, cls in _SECTIONS.items():
        for item in dataclasses.fields(cls):
            yield section, item


def _replace(config: Config, pairs: Sequence[tuple[str, Any]]) -> Config:
    known = {f"{section}.{item.name}": (section, item) for section, item in _fields()}
    for key, value in pairs:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else "; --help lists the keys"
            raise ValueError(f"unknown key {key!r}{hint}")
        section, item = known[key]
        kind = typing.get_type_hints(_SECTIONS[section])[item.name]
        parsed = values.parse(key, value, kind, item.metadata)
        new = dataclasses.replace(getattr(config, section), **{item.name: parsed})
        config = dataclasses.replace(config, **{section: new})
    return config
