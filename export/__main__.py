"""`python -m export`: the command line of the export."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from amcl_serve.errors import AmclError
from amcl_serve.model.bundle import PRECISIONS, Precision
from export.build import Request, export
from export.card import Words
from export.errors import ToleranceError, UsageError
from export.samples import MIN_IMAGES
from export.sources import Source
from export.sources.checkpoint import CheckpointSource
from export.sources.onnx_file import POOLS, OnnxSource
from export.sources.preprocessing import Wishes, colours
from export.sources.torch import TorchSource
from export.whiten import KINDS

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

_EPILOG = f"""\
examples:
  python -m export --checkpoint runs/simclr --out model --precision fp32,fp16
  python -m export --checkpoint runs/simclr --out model --images data/test --train-images data/train
  python -m export --torch torchvision:resnet50 --weights resnet50.pth --out resnet50
  python -m export --onnx encoder.onnx --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 --out encoder

--images wants {MIN_IMAGES} or more images that training has not seen. They give int8 its activation ranges (256 of
them; parity is measured on others), fit and test the probability of a pair, and, with --train-images, query the kNN.
A bundle that misses its parity tolerance is not written, except that int8, unless asked for by --precision, is left out
with a warning (an early checkpoint may miss it). Exit status: 0 written, 1 refused or failed, 2 wrong usage.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments` (those of the process by default); returns its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        request = _request(options)
        card = export(_source(options), request)
    except UsageError as error:
        print(f"export: {_line(error)}", file=sys.stderr)
        return 2
    except (AmclError, ToleranceError, OSError) as error:
        print(f"export: {_line(error)}", file=sys.stderr)
        return 1
    for key, metric in card.metrics.items():
        print(f"{key} {metric.value:.4f}")
    size = sum(entry.bytes for entry in card.files.values())
    print(f"wrote bundle {card.name}, {size / 1e6:.1f} MB, to {options.out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export",
        description="Freeze a network into a bundle that amcl-serve loads, and check it against what it was made from.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", type=Path, metavar="RUN_OR_FILE", help="a run's folder or checkpoint")
    source.add_argument("--torch", metavar="NAME", help="torchvision:NAME or timm:NAME, with --weights")
    source.add_argument("--onnx", type=Path, metavar="FILE", help="an image encoder, float in, features out")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the bundle; an existing one is replaced"
    )
    parser.add_argument(
        "--precision", metavar="LIST", help="of fp32, fp16, int8 (default: all; without --images no int8)"
    )
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="held-out images; sub-folders are labels")
    parser.add_argument(
        "--train-images", type=Path, metavar="FOLDER", help="labelled training images, the bank of the kNN"
    )
    parser.add_argument(
        "--large-images", type=Path, metavar="FOLDER", help="photographs that decide on scaled JPEG decoding"
    )
    parser.add_argument(
        "--image-size", type=int, metavar="N", help="pixels a side when served (default: the network's own)"
    )
    parser.add_argument(
        "--whiten",
        choices=KINDS,
        help="features less their mean, and their spread evened out, by training or held-out images (default: half for "
        "--checkpoint, else none)",
    )
    elsewhere = parser.add_argument_group("a network from elsewhere (--torch, --onnx)")
    elsewhere.add_argument("--weights", type=Path, metavar="FILE", help="state dict: .pth, .pt, .bin or .safetensors")
    elsewhere.add_argument("--mean", metavar="R,G,B", help="subtracted from pixels that are 0 to 1")
    elsewhere.add_argument("--std", metavar="R,G,B", help="what they are divided by then")
    elsewhere.add_argument("--interpolation", choices=("bilinear", "bicubic"), help="of resizing")
    elsewhere.add_argument(
        "--crop", type=float, metavar="SHARE", help="of the shorter side that is kept, such as 0.875"
    )
    elsewhere.add_argument("--output", metavar="NAME", help="of the ONNX file: the tensor that is the features")
    elsewhere.add_argument("--pool", choices=POOLS, help="of the ONNX file's tokens: the first, or their mean")
    words = parser.add_argument_group("words for the card")
    words.add_argument("--name", help="name of the model (default: that of DIR)")
    words.add_argument("--description", default="", help="one sentence")
    words.add_argument("--training-data", metavar="TEXT", help="what it was trained on")
    words.add_argument("--licence", default="not stated", metavar="TEXT", help="of the weights")
    words.add_argument("--note", action="append", default=[], metavar="TEXT", help="a note; may be repeated")
    return parser


def _source(options: argparse.Namespace) -> Source:
    size = options.image_size
    if size is not None and not 8 <= size <= 1024:
        raise UsageError(f"--image-size {size}: give 8 to 1024 pixels a side")
    _refuse_foreign(options)
    if options.checkpoint is not None:
        return CheckpointSource.open(options.checkpoint, size)
    wishes = Wishes(
        size=size,
        mean=None if options.mean is None else colours("--mean", options.mean),
        std=None if options.std is None else colours("--std", options.std),
        interpolation=options.interpolation,
        crop=options.crop,
    )
    if options.torch is not None:
        if options.weights is None:
            raise UsageError(f"--torch {options.torch} needs --weights FILE: nothing is downloaded")
        return TorchSource.open(options.torch, options.weights, wishes)
    return OnnxSource.open(options.onnx, wishes, output=options.output, pool=options.pool)


def _refuse_foreign(options: argparse.Namespace) -> None:
    """UsageError for an option that means nothing to the source."""
    own = {"checkpoint": (), "torch": ("weights", "mean", "std", "interpolation", "crop")}
    own["onnx"] = ("mean", "std", "interpolation", "crop", "output", "pool")
    (source,) = (name for name in own if getattr(options, name) is not None)
    for name in ("weights", "mean", "std", "interpolation", "crop", "output", "pool"):
        if getattr(options, name) is not None and name not in own[source]:
            takers = " and ".join(f"--{other}" for other, names in own.items() if name in names)
            raise UsageError(f"--{name} belongs to {takers}, not to --{source}")


def _request(options: argparse.Namespace) -> Request:
    name = options.name or options.out.resolve().name.lower()
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"--name {name!r}: up to 64 of a-z, 0-9, dot, dash and underscore, the first a letter or digit"
        )
    default = "fp32,fp16" if options.images is None else "fp32,fp16,int8"
    return Request(
        out=options.out.resolve(),
        precisions=_precisions(default if options.precision is None else options.precision),
        words=Words(name, options.description, options.training_data, options.licence, tuple(options.note)),
        images=options.images,
        train_images=options.train_images,
        large_images=options.large_images,
        whiten=options.whiten,
        optional=("int8",) if options.precision is None and options.images is not None else (),
    )


def _precisions(text: str) -> tuple[Precision, ...]:
    """`fp16,int8` -> those precisions in the bundle's order; UsageError for any other word."""
    asked: Sequence[str] = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in asked if word not in PRECISIONS]
    if unknown or not asked:
        raise UsageError(f"--precision {text!r}: give one or more of {', '.join(PRECISIONS)}, joined by commas")
    return tuple(p for p in PRECISIONS if p in asked)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
