"""The bundle: a folder of ONNX files and `card.json`, the only thing that export and serving share.

encoder.<precision>.onnx   pixels uint8 [N, S, S, 3] -> features float32 [N, D], heads float32 [N, C, d'], unit norm
temperature.onnx           heads_a, heads_b float32 [N, C, d'] -> temperature float32 [N, C]
card.json                  ModelCard

A model from elsewhere may have no heads: C = d' = 0. Its encoder then has the output `features` alone, there is no
temperature.onnx, and the score of a pair is the cosine of its features.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from amcl_serve.errors import BundleError, InvalidRequest
from amcl_serve.metrics.head_score import Weighting

SCHEMA_VERSION: Final = 1
CARD_FILE = "card.json"
TEMPERATURE_FILE = "temperature.onnx"
MODELS_DIR = Path(__file__).parents[1] / "models"

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
Output = Literal["features", "heads"]
Interpolation = Literal["bilinear", "bicubic"]
Share = Annotated[float, Field(ge=0, le=1)]


def encoder_file(precision: Precision) -> str:
    """Name of the encoder's file at `precision`."""
    return f"encoder.{precision}.onnx"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputSpec(_Part):
    """How an image becomes the encoder's pixels: the shorter side is resized, the centre of size x size is kept."""

    size: Annotated[int, Field(ge=8, le=1024)]
    resize: Literal["shorter_side_centre_crop"] = "shorter_side_centre_crop"
    interpolation: Interpolation = "bilinear"
    crop: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of the resized shorter side that is kept (timm's crop_pct)
    scaled_jpeg_decoding: bool = False  # whether `Image.draft` keeps the embeddings (measured at export)


class TemperatureSpec(_Part):
    """Kind, bounds and start of the temperature; low == high == value when constant."""

    kind: Literal["constant", "adaptive"]
    low: Annotated[float, Field(gt=0)]
    high: Annotated[float, Field(gt=0)]
    value: Annotated[float, Field(gt=0)]


class Whitening(_Part):
    """What the encoder's last layer does to the backbone's features, fitted on unlabelled images."""

    kind: Literal["half", "full", "centre"]
    images: Annotated[int, Field(ge=2)]
    of: str  # which images


class PairScore(_Part):
    """How heads become one score (`amcl_serve.metrics.head_score`); the export keeps what tells pairs apart best.

    Of a model without heads it says nothing: the score is the cosine of the features.
    """

    weighting: Weighting = "inverse_variance"
    weights: list[Annotated[float, Field(ge=0)]] | None = None  # [C], of weighting "weights"


class FileEntry(_Part):
    """Size and hash of one file of the bundle."""

    bytes: Annotated[int, Field(ge=1)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Parity(_Part):
    """Agreement with the source (fp32) through onnxruntime, on `images` held-out images; no heads: None of them."""

    images: int
    features_max_abs: float  # largest |difference| / largest |reference|
    heads_max_abs: float | None = None
    features_min_cosine: float
    features_mean_cosine: float
    features_p01_cosine: float  # 1st percentile
    heads_min_cosine: float | None = None
    heads_mean_cosine: float | None = None
    heads_p01_cosine: float | None = None


class Metric(_Part):
    """One measured number with what it was measured on."""

    value: float
    protocol: str


class Calibration(_Part):
    """Logistic regression from a score of pairs to a probability: p = 1 / (1 + exp(-(slope * score + intercept)))."""

    slope: float
    intercept: float
    threshold: Share = 0.5  # on the probability: the verdict `same`
    protocol: str
    pairs: int
    auroc: Share
    accuracy: Share
    brier: Share
    expected_calibration_error: Share


class Probe(_Part):
    """The expected embedding of `probe_image(size)`, first values of each, recomputed before the server says ready."""

    features: dict[Precision, list[float]]  # unit-norm features [D]
    min_cosine: Share


class ModelCard(_Part):
    """All that a server or a reader needs to know of a model, written by export."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    description: str
    method: str
    recipe: str
    config: Mapping[str, Any]  # the run's whole config
    backbone: str
    feature_dim: Annotated[int, Field(ge=1)]  # D
    num_heads: Annotated[int, Field(ge=0)]  # C; 0: a model without heads
    head_dim: Annotated[int, Field(ge=0)]  # d', 0 likewise
    input: InputSpec
    temperature: TemperatureSpec | None  # None: no heads
    whitening: Whitening | None = None  # None: features are the backbone's own
    pair_score: PairScore = PairScore()
    opset: int | None = None  # of the graphs, and the first onnxruntime that reads them; None on older cards
    onnxruntime: str | None = None
    files: dict[str, FileEntry]
    parity: dict[Precision, Parity]
    metrics: dict[str, Metric]
    calibration: Calibration | None
    feature_calibration: Calibration | None = None  # of the features' cosine, where the score is another
    probe: Probe
    training_data: str
    licence: str
    notes: list[str] = []

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What the encoder gives of an image."""
        return ("features", "heads") if self.num_heads else ("features",)

    def check_outputs(self, wanted: Iterable[Output]) -> None:
        """InvalidRequest where the encoder does not give what is wanted."""
        if not self.num_heads and "heads" in wanted:
            raise InvalidRequest(f"the model {self.name} has no heads: ask for its features")

    @model_validator(mode="after")
    def _heads_are_whole_or_none(self) -> Self:
        if not (self.num_heads > 0) == (self.head_dim > 0) == (self.temperature is not None):
            raise ValueError(
                f"num_heads {self.num_heads}, head_dim {self.head_dim} and temperature "
                f"{'given' if self.temperature else 'null'}: a model without heads has 0, 0 and null, "
                "one with heads none of these"
            )
        return self

    @model_validator(mode="after")
    def _weights_are_of_the_heads(self) -> Self:
        weighting, weights = self.pair_score.weighting, self.pair_score.weights
        if (weighting == "weights") != (weights is not None) or len(weights or [1] * self.num_heads) != self.num_heads:
            raise ValueError(f"pair_score: {weighting} with weights {weights} does not suit {self.num_heads} heads")
        if weights is not None and not any(weights):
            raise ValueError("pair_score: the weights are all 0")
        return self


class Bundle:
    """An opened bundle: its card, its folder and its digest (`sha256:` of card.json, which names every file's hash)."""

    def __init__(self, folder: Path, card: ModelCard, digest: str) -> None:
        self.folder = folder
        self.card = card
        self.digest = digest

    @classmethod
    def open(cls, folder: Path, *, verify: bool = True) -> Bundle:
        """Read the card and check every file it names: size always, sha256 when `verify`.

        Raises BundleError where the folder, the card, a file or a hash is not as it should be.
        """
        path = folder / CARD_FILE
        try:
            raw = path.read_bytes()
        except OSError:
            raise BundleError(
                f"no bundle in {folder}: {CARD_FILE} cannot be read; a bundle is made by `python -m export`"
            ) from None
        card = _parse_card(raw, folder)
        for name, entry in card.files.items():
            _check_file(folder, name, entry, verify=verify)
        if card.num_heads and TEMPERATURE_FILE not in card.files:
            raise BundleError(f"bundle {folder.name}: {CARD_FILE} names no {TEMPERATURE_FILE}")
        if not card.num_heads and TEMPERATURE_FILE in card.files:
            raise BundleError(f"bundle {folder.name}: {CARD_FILE} names {TEMPERATURE_FILE}, but the model has no heads")
        bundle = cls(folder, card, "sha256:" + hashlib.sha256(raw).hexdigest())
        if not bundle.precisions:
            raise BundleError(f"bundle {folder.name}: {CARD_FILE} names no encoder.<precision>.onnx")
        return bundle

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The precisions that the bundle holds an encoder for."""
        return tuple(p for p in PRECISIONS if encoder_file(p) in self.card.files)

    def encoder_path(self, precision: Precision) -> Path:
        """Path of the encoder at `precision`; BundleError if the bundle has none."""
        if precision not in self.precisions:
            have = ", ".join(self.precisions)
            raise BundleError(f"bundle {self.card.name} has no {precision} encoder; it has {have}")
        return self.folder / encoder_file(precision)

    def encoder_bytes(self, precision: Precision) -> int:
        """Size of the encoder at `precision`, with weights that stand beside its graph."""
        name = self.encoder_path(precision).name
        return sum((self.folder / file).stat().st_size for file in self.card.files if file.startswith(name))

    @property
    def temperature_path(self) -> Path:
        """Path of temperature.onnx, which a bundle of a model without heads has not."""
        return self.folder / TEMPERATURE_FILE


def probe_image(size: int) -> npt.NDArray[np.uint8]:
    """A deterministic image, uint8 [size, size, 3]: three gradients and a ring, by integer arithmetic alone."""
    y, x = np.mgrid[0:size, 0:size].astype(np.int64)
    ring = ((2 * x - size) ** 2 + (2 * y - size) ** 2) * 4 // (size * size) % 2 * 64
    channels = (x * 191 // size + ring, y * 191 // size + ring, (x + y) * 95 // size + ring)
    return np.stack(channels, axis=-1).astype(np.uint8)


def file_entry(path: Path) -> FileEntry:
    """Size and sha256 of a file."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return FileEntry(bytes=path.stat().st_size, sha256=digest)


def _parse_card(raw: bytes, folder: Path) -> ModelCard:
    try:
        data = json.loads(raw)
    except ValueError:
        raise BundleError(f"bundle {folder.name}: {CARD_FILE} is not JSON") from None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"bundle {folder.name}: card of schema version {version!r}; this amcl-serve reads version {SCHEMA_VERSION}"
        )
    try:
        return ModelCard.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"bundle {folder.name}: {CARD_FILE}: {where}: {first['msg']}") from None


def _check_file(folder: Path, name: str, entry: FileEntry, *, verify: bool) -> None:
    if Path(name).name != name:
        raise BundleError(f"bundle {folder.name}: file name {name!r} leaves the folder")
    path = folder / name
    if not path.is_file():
        raise BundleError(f"bundle {folder.name}: {name} is missing")
    if path.stat().st_size != entry.bytes or (verify and file_entry(path) != entry):
        raise BundleError(f"bundle {folder.name}: {name} is not the file that the card describes; copy the bundle anew")
