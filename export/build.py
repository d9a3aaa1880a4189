"""The whole export of a source: graphs, parity, measurements, card."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from amcl_serve.model.bundle import (
    TEMPERATURE_FILE,
    Bundle,
    Metric,
    ModelCard,
    Parity,
    Precision,
    Whitening,
    encoder_file,
)
from amcl_serve.model.encoder import Embeddings, Encoder
from amcl_serve.model.pair_scorer import PairScorer
from export import whiten
from export.card import Words, card
from export.errors import ToleranceError, UsageError
from export.folder import check_target, entries, new_folder, write_card
from export.graphs import float16, int8
from export.graphs.files import least_onnxruntime, remove
from export.graphs.nodes import opset
from export.images import ImageSet
from export.metrics import measure_knn, measure_pairs
from export.networks import BATCH, Network, Pixels, embed, onnx_network, served_network
from export.samples import decided_decoding, measured_on, samples
from export.sources import Source
from export.verify import misses, parity, refuse_misses, table
from export.whiten_fit import looked_at, whiten_on
from training.machine import cores

_BATCH_TOLERANCE = 1e-5  # of the outputs' scale


@dataclass(frozen=True)
class Request:
    """Where to export to, and the images to measure on.

    Precisions that are `optional` too are left out, with a warning, when they miss their tolerance.
    """

    out: Path
    precisions: tuple[Precision, ...]
    words: Words
    optional: tuple[Precision, ...] = ()
    images: Path | None = None
    train_images: Path | None = None
    large_images: Path | None = None
    whiten: whiten.Kind | None = None  # None: what the source is whitened by where there are images to fit it on


def export(source: Source, request: Request) -> ModelCard:
    """Write the bundle of `source` and return its card; progress and the parity table go to standard output.

    Raises UsageError for what the user can mend in the request (nothing was written then) and ToleranceError when a
    file misses its tolerance (nothing was written either, and a bundle that stood there still stands).
    """
    check_target(request.out)
    held_out, bank = measured_on(request.images, request.train_images, request.precisions)
    unwhitened, whitening = _whiten(source, request.whiten, held_out, bank)
    with new_folder(request.out) as folder:
        networks, written = _encoders(source, request, folder, held_out, whitening)
        write_card(folder, written)
        if held_out is not None:
            compared = {str(precision): network for precision, network in networks.items()}
            if bank is not None and (never := source.untrained()) is not None:
                if whitening is not None:
                    whiten_on(never, bank, whitening.kind)
                compared["untrained"] = served_network(never.write)
            if unwhitened is not None:
                compared["unwhitened"] = unwhitened
            written = _measured(written, folder, compared, source.about.omega, held_out, bank)
            write_card(folder, written)
        Bundle.open(folder)
    return written


def _whiten(
    source: Source, asked: whiten.Kind | None, held_out: ImageSet | None, bank: ImageSet | None
) -> tuple[Network | None, Whitening | None]:
    """Whiten `source` by training images, else by held-out ones: it as it was, and what the card says of it."""
    images = held_out if bank is None else bank
    if images is None and asked not in (None, "none"):
        raise UsageError(
            f"--whiten {asked} needs --images FOLDER: what it is fitted on, unless there is --train-images too"
        )
    kind = asked or source.about.whitening
    if images is None or kind == "none":
        return None, None
    before = served_network(source.write)
    about = Whitening(
        kind=kind, images=len(looked_at(images)), of="held-out images" if bank is None else "training images"
    )
    print(f"whitening features ({about.kind}) on {about.images} {about.of}", flush=True)
    whiten_on(source, images, about.kind, before)
    return before, about


def _encoders(
    source: Source, request: Request, folder: Path, held_out: ImageSet | None, whitening: Whitening | None
) -> tuple[dict[Precision, Network], ModelCard]:
    """Write every file but the card: the network at each precision, fp32 always, and the card as far as it is known."""
    about = source.about
    print(f"writing fp32{' and temperature' if about.num_heads else ''}", flush=True)
    first = folder / encoder_file("fp32")
    source.write(first)
    source.write_temperature(folder / TEMPERATURE_FILE)
    fp32 = onnx_network(first)
    spec, decoding = decided_decoding(source.spec, whitening is not None, fp32, held_out, request.large_images)
    ranges, checked = samples(held_out, spec)
    run, name = source.reference
    reference = embed(run, checked)
    _refuse_unequal_batches(fp32, checked)

    networks: dict[Precision, Network] = {"fp32": fp32}
    parities: dict[Precision, Parity] = {"fp32": parity(reference, embed(fp32, checked))}
    refuse_misses(parities)  # the others are made from this one
    for precision in ("fp16", "int8"):
        if precision in request.precisions:
            print(f"writing {precision}", flush=True)
            target = folder / encoder_file(precision)
            if precision == "fp16":
                _write_fp16(first, target, checked, reference)
            else:
                _write_int8(first, target, ranges)
            networks[precision] = onnx_network(target)
            parities[precision] = parity(reference, embed(networks[precision], checked))
    print(f"parity with {name} on {'held-out' if held_out else 'synthetic'} images")
    print(table(parities), flush=True)
    for precision in request.optional:
        if missed := misses(precision, parities[precision]):
            print(f"warning: {precision} is left out: {'; '.join(missed)}", file=sys.stderr)
            del networks[precision], parities[precision]
            remove(folder / encoder_file(precision))
    refuse_misses(parities)

    if "fp32" not in request.precisions:
        remove(first)
    kept = {p: networks[p] for p in request.precisions if p in networks}
    written = card(about, request.words, spec, whitening, {p: parities[p] for p in kept}, kept)
    models = [onnx.load(path, load_external_data=False) for path in folder.glob("*.onnx")]
    update = {
        "opset": max(opset(model) for model in models),
        "onnxruntime": least_onnxruntime(models),
        "files": entries(folder),
        "metrics": {} if decoding is None else {"scaled_decoding_cosine": decoding},
    }
    return networks, written.model_copy(update=update)


def _write_fp16(source: Path, target: Path, checked: Pixels, reference: Embeddings) -> None:
    """Compute in float16; store only the weights so where what a device would round then misses the tolerance."""
    with np.errstate(invalid="ignore"):  # of infinities, which miss it
        found = parity(reference, embed(served_network(lambda path: float16.to_rounded(source, path)), checked))
    missed = misses("fp16", found)
    if missed:
        print(f"  weights alone are float16; computed in it, {'; '.join(missed)}")
    else:
        print(f"  computed in float16; rounded as a device does, smallest cosine {found.features_min_cosine:.6f}")
    float16.to_fp16(source, target, computed=not missed)


def _write_int8(source: Path, target: Path, ranges: Pixels) -> None:
    reference = embed(onnx_network(source), ranges)

    def quality(candidate: Path) -> float:
        found = parity(reference, embed(onnx_network(candidate), ranges))
        return min(found.features_p01_cosine, 1 if found.heads_p01_cosine is None else found.heads_p01_cosine)

    print(f"  ranges by {int8.to_int8(source, target, ranges, quality)}", flush=True)


def _measured(
    written: ModelCard,
    folder: Path,
    networks: Mapping[str, Network],
    omega: tuple[float, float],
    held_out: ImageSet,
    bank: ImageSet | None,
) -> ModelCard:
    """The card with calibration and metrics, of the encoder that serves by default and of each precision."""
    bundle = Bundle(folder, written, "")
    encoder = Encoder.load(bundle, session_threads=cores())
    pairs = measure_pairs(
        encoder.encode, PairScorer.load(bundle), held_out, written.input, precision=encoder.precision, omega=omega
    )
    metrics = {**written.metrics, **pairs.metrics}
    if bank is not None:
        knn = measure_knn(networks, bank, held_out, written.input)
        if "knn_int8" in knn:
            lost = knn["knn_fp32"].value - knn["knn_int8"].value
            knn["knn_int8_loss"] = Metric(value=lost, protocol="knn_fp32 less knn_int8")
        metrics |= knn
    said = {"calibration": pairs.calibration, "feature_calibration": pairs.feature_calibration}
    return written.model_copy(update={**said, "pair_score": pairs.score, "metrics": metrics})


def _refuse_unequal_batches(fp32: Network, checked: Pixels) -> None:
    together = fp32(checked[:BATCH])
    alone = [fp32(image[None]) for image in checked[:BATCH]]
    for name in ("features", "heads"):
        whole, parts = getattr(together, name), np.concatenate([getattr(one, name) for one in alone])
        if not whole.size:
            continue
        worst = float(np.abs(whole - parts).max() / max(float(np.abs(whole).max()), 1e-30))
        if worst > _BATCH_TOLERANCE:
            raise ToleranceError(f"no bundle was written: {name} of a batch of 1 and of {BATCH} differ by {worst:.1e}")
