"""Recompute the figures on a bundle's card from the data, and compare: `make bench-model`.

    python -m benchmarks.study.model [--data ../shared/data] [--bundle DIR]

Reads Tiny-ImageNet's training archives (WNID/WNID_K.JPEG) as they are: K < 475 of each class is the bank, K ≥ 475 was
held out. Prints kNN of every precision in the bundle and of the same network untrained, and the separation of pairs;
exits 1 when a figure differs from the card by more than its tolerance. Takes minutes: 100,000 images, three networks.
"""

from __future__ import annotations

import argparse
import re
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from amcl_serve.errors import AmclError
from amcl_serve.hosting.opening import find_bundle
from amcl_serve.model.bundle import Bundle, Calibration, ModelCard
from amcl_serve.model.encoder import Encoder
from amcl_serve.model.pair_scorer import PairScorer
from export.images import ImageSet
from export.metrics import PAIRS, measure_knn, measure_pairs
from export.networks import Network, onnx_network, served_network
from export.sources.checkpoint import untrained
from export.whiten_fit import whiten_on
from training.config import from_dict
from training.machine import cores

HELD_OUT_FROM = 475
TOLERANCE = 0.005  # of a share; the same files and images differ by rounding alone
_MEMBER = re.compile(r"(n\d{8})_(\d+)\.JPEG")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison; 0 when the card tells the truth."""
    parser = argparse.ArgumentParser(description="Recompute the figures on a bundle's card.")
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder of the Tiny-ImageNet archives"
    )
    parser.add_argument("--bundle", default="default", help="a bundle's folder, or the name of a shipped one")
    options = parser.parse_args(arguments)
    try:
        bundle = Bundle.open(find_bundle(options.bundle))
        bank, held_out = tiny_imagenet(options.data)
    except (AmclError, ValueError) as error:
        print(f"bench-model: {error}", file=sys.stderr)
        return 2
    print(f"bundle {bundle.card.name}, {len(bank)} images in the bank, {len(held_out)} held out", flush=True)
    return 0 if compare(bundle.card, recompute(bundle, bank, held_out)) else 1


def tiny_imagenet(folder: Path) -> tuple[ImageSet, ImageSet]:
    """(bank, held-out images) of the archives in `folder`, in the order of their names; ValueError without archives."""
    archives = sorted(folder.glob("tiny-imagenet-train-part*.tar.xz"))
    if not archives:
        raise ValueError(f"no tiny-imagenet-train-part*.tar.xz in {folder}; name their folder with --data")
    found: list[tuple[str, int, bytes]] = []
    for archive in tqdm(archives, desc="reading", unit="archive", leave=False):
        with tarfile.open(archive, "r|xz") as stream:
            for member in stream:
                name = _MEMBER.fullmatch(Path(member.name).name)
                content = stream.extractfile(member) if name else None
                if name and content:
                    found.append((name[1], int(name[2]), content.read()))
    found.sort(key=lambda item: (item[0], f"{item[0]}_{item[1]}.JPEG"))  # as `list_images` sorts the unpacked files
    return _image_set([f for f in found if f[1] < HELD_OUT_FROM]), _image_set(
        [f for f in found if f[1] >= HELD_OUT_FROM]
    )


def _image_set(items: list[tuple[str, int, bytes]]) -> ImageSet:
    return ImageSet(
        names=[f"{wnid}_{number}.JPEG" for wnid, number, _ in items],
        read=lambda index: items[index][2],
        labels=[wnid for wnid, _, _ in items],
    )


def recompute(bundle: Bundle, bank: ImageSet, held_out: ImageSet) -> dict[str, float]:
    """The card's metrics, as far as the bundle's own files and its config give them."""
    spec = bundle.card.input
    encoder = Encoder.load(bundle, session_threads=cores())
    config = from_dict(bundle.card.config)
    t = config.temperature
    pairs = measure_pairs(
        encoder.encode,
        PairScorer.load(bundle),
        held_out,
        spec,
        precision=encoder.precision,
        omega=(t.beta, t.eta),
        count=PAIRS if bundle.card.calibration is None else bundle.card.calibration.pairs // 4,
    )
    networks: dict[str, Network] = {str(p): onnx_network(bundle.encoder_path(p)) for p in bundle.precisions}
    never = untrained(config, spec.size)
    if (whitening := bundle.card.whitening) is not None:
        whiten_on(never, bank if whitening.of == "training images" else held_out, whitening.kind)
    networks["untrained"] = served_network(never.write)
    metrics = pairs.metrics | measure_knn(networks, bank, held_out, spec)
    found = {name: metric.value for name, metric in metrics.items()}
    return found | judged("calibration", pairs.calibration) | judged("feature calibration", pairs.feature_calibration)


def judged(name: str, calibration: Calibration | None) -> dict[str, float]:
    """The figures of a calibration; none without one."""
    if calibration is None:
        return {}
    return {
        f"{name} brier": calibration.brier,
        f"{name} accuracy": calibration.accuracy,
        f"{name} ECE": calibration.expected_calibration_error,
    }


def compare(card: ModelCard, found: dict[str, float]) -> bool:
    """Print each figure beside the card's; True when all agree."""
    stated = {name: metric.value for name, metric in card.metrics.items()}
    stated |= judged("calibration", card.calibration) | judged("feature calibration", card.feature_calibration)
    agree = True
    print(f"{'':28} {'found':>8} {'card':>8}")
    for name, value in found.items():
        if name not in stated:  # measured since the card was written
            print(f"{name:28} {value:8.4f} {'-':>8}")
            continue
        matches = abs(value - stated[name]) <= TOLERANCE
        agree &= matches
        print(f"{name:28} {value:8.4f} {stated[name]:8.4f}  {'' if matches else 'DIFFERS'}".rstrip())
    for name in found:
        if name.startswith("knn_") and name != "knn_untrained":
            print(f"{name} is {found[name] / found['knn_untrained']:.2f} times knn_untrained")
    missing = sorted(set(stated) - set(found))
    if missing:
        print(f"on the card, but not recomputed from the bundle's files: {', '.join(missing)}")
    print(f"the card {'agrees' if agree else 'DOES NOT AGREE'} within {TOLERANCE}")
    return agree


if __name__ == "__main__":
    sys.exit(main())
