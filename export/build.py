"""The whole export: graphs, parity, measurements, card; a bundle appears complete or not at all."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amcl_serve.errors import BundleError
from amcl_serve.model.bundle import (
    CARD_FILE,
    PRECISIONS,
    TEMPERATURE_FILE,
    Bundle,
    InputSpec,
    Metric,
    ModelCard,
    Parity,
    Precision,
    Whitening,
    encoder_file,
    file_entry,
)
from amcl_serve.model.encoder import Encoder
from amcl_serve.model.pair_scorer import PairScorer
from export import quantize, whiten
from export.card import Words, card
from export.errors import ToleranceError, UsageError
from export.images import ImageSet, folder_images, pixels, range_indices, reported_indices, synthetic_pixels
from export.metrics import KNN_K, measure_knn, measure_pairs
from export.networks import (
    BATCH,
    Network,
    Pixels,
    embed,
    onnx_network,
    served_network,
    torch_network,
    untrained,
)
from export.onnx import ServedEncoder, write_encoder, write_temperature
from export.verify import (
    SCALED_DECODING_COSINE,
    SCALED_DECODING_IMAGES,
    misses,
    parity,
    refuse_misses,
    scaled_decoding,
    table,
)
from export.whiten_fit import looked_at, whiten_on
from training.config import Config
from training.machine import cores
from training.model.backbones import check_size
from training.model.model import AmclModel
from training.run.checkpoint import load_model

MIN_IMAGES = 64
_PARITY_IMAGES = 1000
_BATCH_TOLERANCE = 1e-5  # of the outputs' scale
_SYNTHETIC_IMAGES = 64


@dataclass(frozen=True)
class Request:
    """What to export, where to, and the images to measure it on.

    Precisions that are `optional` too are left out, with a warning, when they miss their tolerance.
    """

    checkpoint: Path
    out: Path
    precisions: tuple[Precision, ...]
    words: Words
    optional: tuple[Precision, ...] = ()
    images: Path | None = None
    train_images: Path | None = None
    large_images: Path | None = None
    image_size: int | None = None  # None: that of training
    whiten: whiten.Kind | None = None  # None: half where there are images to fit it on


def export(request: Request) -> ModelCard:
    """Write the bundle of `request` and return its card; progress and the parity table go to standard output.

    Raises UsageError for what the user can mend in the request (nothing was written then) and ToleranceError when a
    file misses its tolerance (nothing was written either, and a bundle that stood there still stands).
    """
    _check_target(request.out)
    held_out, bank = _measured_on(request)
    model, config = _load(request.checkpoint)
    served = _served(model, config, request.image_size)
    unwhitened, whitening = _whiten(served, request.whiten, held_out, bank)
    with _new_folder(request.out) as folder:
        print("writing fp32 and temperature", flush=True)
        write_encoder(served, folder / encoder_file("fp32"))
        write_temperature(model, folder / TEMPERATURE_FILE)
        fp32 = onnx_network(folder / encoder_file("fp32"))
        spec, decoding = _input_spec(served, fp32, held_out, request.large_images)
        ranges, checked = _samples(held_out, spec)
        reference = embed(torch_network(served), checked)
        _refuse_unequal_batches(fp32, checked)

        networks: dict[Precision, Network] = {"fp32": fp32}
        parities: dict[Precision, Parity] = {"fp32": parity(reference, embed(fp32, checked))}
        refuse_misses(parities)  # the others are made from this one
        for precision in ("fp16", "int8"):
            if precision in request.precisions:
                _make(precision, folder, ranges)
                networks[precision] = onnx_network(folder / encoder_file(precision))
                parities[precision] = parity(reference, embed(networks[precision], checked))
        print(f"parity with PyTorch on {'held-out' if held_out else 'synthetic'} images")
        print(table(parities), flush=True)
        for precision in request.optional:
            if missed := misses(precision, parities[precision]):
                print(f"warning: {precision} is left out: {'; '.join(missed)}", file=sys.stderr)
                del networks[precision], parities[precision]
                (folder / encoder_file(precision)).unlink()
        refuse_misses(parities)

        if "fp32" not in request.precisions:
            (folder / encoder_file("fp32")).unlink()
        kept = {p: networks[p] for p in request.precisions if p in networks}
        written = card(model, config, request.words, spec, whitening, {p: parities[p] for p in kept}, kept)
        written = written.model_copy(
            update={
                "files": {path.name: file_entry(path) for path in sorted(folder.glob("*.onnx"))},
                "metrics": {} if decoding is None else {"scaled_decoding_cosine": decoding},
            }
        )
        _write_card(folder, written)
        if held_out is not None:
            named = {str(precision): network for precision, network in networks.items()}
            if bank is not None:
                never = untrained(config, served.size)
                if whitening is not None:
                    whiten_on(never, bank, whitening.kind)
                named["untrained"] = served_network(never)
            if unwhitened is not None:
                named["unwhitened"] = unwhitened
            written = _measured(written, folder, named, config, held_out, bank)
            _write_card(folder, written)
        Bundle.open(folder)
    return written


def _load(checkpoint: Path) -> tuple[AmclModel, Config]:
    try:
        return load_model(checkpoint)
    except ValueError as error:
        raise UsageError(f"--checkpoint: {error}") from None


def _served(model: AmclModel, config: Config, size: int | None) -> ServedEncoder:
    if size is not None and not 8 <= size <= 1024:
        raise UsageError(f"--image-size {size}: give 8 to 1024 pixels a side")
    if size not in (None, config.data.image_size) and config.backbone.name == "vit":
        raise UsageError(f"--image-size {size}: a ViT keeps the {config.data.image_size} pixels it was trained at")
    if size is not None and config.backbone.named:
        try:
            check_size(model.backbone, size, config.backbone.name)
        except ValueError as error:
            raise UsageError(f"--image-size {size}: {error}") from None
    return ServedEncoder(model, config, size)


def _whiten(
    served: ServedEncoder, asked: whiten.Kind | None, held_out: ImageSet | None, bank: ImageSet | None
) -> tuple[Network | None, Whitening | None]:
    """Whiten `served` by training images, else by held-out ones: it as it was, and what the card says of it."""
    images = held_out if bank is None else bank
    if images is None and asked not in (None, "none"):
        raise UsageError(
            f"--whiten {asked} needs --images FOLDER: what it is fitted on, unless there is --train-images too"
        )
    if images is None or asked == "none":
        return None, None
    before = served_network(served)
    about = Whitening(
        kind=asked or "half", images=len(looked_at(images)), of="held-out images" if bank is None else "training images"
    )
    print(f"whitening features ({about.kind}) on {about.images} {about.of}", flush=True)
    whiten_on(served, images, about.kind, before)
    return before, about


def _check_target(out: Path) -> None:
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: the folder {out.parent} does not exist")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        Bundle.open(out, verify=False)
    except (BundleError, NotADirectoryError):
        raise UsageError(
            f"--out {out} exists and is no bundle; only a bundle is replaced, choose another folder"
        ) from None


def _measured_on(request: Request) -> tuple[ImageSet | None, ImageSet | None]:
    """Held-out images and the labelled bank, as far as they were given."""
    if request.images is None:
        if "int8" in request.precisions:
            raise UsageError("int8 needs --images FOLDER: its ranges and its parity are measured on held-out images")
        if request.train_images is not None:
            raise UsageError("--train-images needs --images: the labelled held-out images that query it")
        return None, None
    held_out = folder_images(request.images)
    if len(held_out) < MIN_IMAGES:
        raise UsageError(f"--images {request.images} holds {len(held_out)} images; at least {MIN_IMAGES} are needed")
    if request.train_images is None:
        return held_out, None
    bank = folder_images(request.train_images)
    if bank.labels is None or held_out.labels is None:
        raise UsageError("kNN needs labels: in --images and --train-images put each class into a folder of its own")
    if not set(held_out.labels) & set(bank.labels):
        raise UsageError("--images and --train-images have no class in common; their folders' names are the labels")
    if len(bank) < KNN_K:
        raise UsageError(f"--train-images {request.train_images} holds {len(bank)} images; at least {KNN_K} are needed")
    return held_out, bank


def _input_spec(
    served: ServedEncoder, fp32: Network, held_out: ImageSet | None, large: Path | None
) -> tuple[InputSpec, Metric | None]:
    """How images enter the network, and what decided on scaled JPEG decoding, if anything did."""
    spec = InputSpec(size=served.size)
    photographs = held_out if large is None else folder_images(large)
    found = None if photographs is None else scaled_decoding(fp32, photographs, spec)
    if found is None:
        if large is not None:
            raise UsageError(
                f"--large-images {large} holds too few JPEGs with sides of {4 * spec.size} pixels or more; "
                f"at least {SCALED_DECODING_IMAGES} are needed"
            )
        return spec, None
    return spec.model_copy(
        update={"scaled_jpeg_decoding": found.value >= SCALED_DECODING_COSINE[served.whitens]}
    ), found


def _samples(held_out: ImageSet | None, spec: InputSpec) -> tuple[Pixels, Pixels]:
    """(pixels that give int8 its ranges, pixels that parity is measured on): disjoint, a fixed random choice."""
    if held_out is None:
        return np.empty((0, spec.size, spec.size, 3), np.uint8), synthetic_pixels(_SYNTHETIC_IMAGES, spec.size)
    count = len(held_out)
    checked = reported_indices(count, spec.size, seed=1)[:_PARITY_IMAGES]
    return pixels(held_out, range_indices(count, spec.size), spec), pixels(held_out, checked, spec)


def _make(precision: Precision, folder: Path, ranges: Pixels) -> None:
    source, target = folder / encoder_file("fp32"), folder / encoder_file(precision)
    print(f"writing {precision}", flush=True)
    if precision == "fp16":
        quantize.to_fp16(source, target)
        return
    reference = embed(onnx_network(source), ranges)

    def quality(candidate: Path) -> float:
        found = parity(reference, embed(onnx_network(candidate), ranges))
        return min(found.features_p01_cosine, found.heads_p01_cosine)

    print(f"  ranges by {quantize.to_int8(source, target, ranges, quality)}", flush=True)


def _measured(
    written: ModelCard,
    folder: Path,
    networks: Mapping[str, Network],
    config: Config,
    held_out: ImageSet,
    bank: ImageSet | None,
) -> ModelCard:
    """The card with calibration and metrics, of the encoder that serves by default and of each precision."""
    bundle = Bundle(folder, written, "")
    encoder = Encoder.load(bundle, session_threads=cores())
    pairs = measure_pairs(
        encoder.encode,
        PairScorer.load(bundle),
        held_out,
        written.input,
        precision=encoder.precision,
        omega=(config.temperature.beta, config.temperature.eta),
    )
    metrics = {**written.metrics, **pairs.metrics}
    if bank is not None:
        knn = measure_knn(networks, bank, held_out, written.input)
        if "knn_int8" in knn:
            lost = knn["knn_fp32"].value - knn["knn_int8"].value
            knn["knn_int8_loss"] = Metric(value=lost, protocol="knn_fp32 less knn_int8")
        metrics |= knn
    return written.model_copy(update={"calibration": pairs.calibration, "pair_score": pairs.score, "metrics": metrics})


def _refuse_unequal_batches(fp32: Network, checked: Pixels) -> None:
    together = fp32(checked[:BATCH])
    alone = [fp32(image[None]) for image in checked[:BATCH]]
    for name in ("features", "heads"):
        whole, parts = getattr(together, name), np.concatenate([getattr(one, name) for one in alone])
        worst = float(np.abs(whole - parts).max() / max(float(np.abs(whole).max()), 1e-30))
        if worst > _BATCH_TOLERANCE:
            raise ToleranceError(f"no bundle was written: {name} of a batch of 1 and of {BATCH} differ by {worst:.1e}")


def _write_card(folder: Path, written: ModelCard) -> None:
    (folder / CARD_FILE).write_text(written.model_dump_json(indent=2) + "\n", encoding="utf-8")


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place at the end, or vanishes when the work fails."""
    folder = out.with_name(f".{out.name}.{os.getpid()}.partial")
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    folder.mkdir()
    try:
        yield folder
        if out.exists():
            out.rename(old)
        folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if old.exists() and not out.exists():
            old.rename(out)
        shutil.rmtree(old, ignore_errors=True)


def parse_precisions(text: str) -> tuple[Precision, ...]:
    """`fp16,int8` -> those precisions in the bundle's order; UsageError for any other word."""
    asked: Sequence[str] = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in asked if word not in PRECISIONS]
    if unknown or not asked:
        raise UsageError(f"--precision {text!r}: give one or more of {', '.join(PRECISIONS)}, joined by commas")
    return tuple(p for p in PRECISIONS if p in asked)
