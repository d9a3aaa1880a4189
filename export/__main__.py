"""`python -m export`: the command line of the export."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from amcl_serve.errors import AmclError
from export.build import MIN_IMAGES, Request, export, parse_precisions
from export.card import Words
from export.errors import ToleranceError, UsageError
from export.whiten import KINDS

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

_EPILOG = f"""\
examples:
  python -m export --checkpoint runs/simclr --out model --precision fp32,fp16
  python -m export --checkpoint runs/simclr --out model --images data/test --train-images data/train

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
        card = export(_request(options))
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
        description="Freeze a training run into a bundle that amcl-serve loads, and check it against PyTorch.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="RUN_OR_FILE", help="a run's folder or checkpoint"
    )
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
        "--image-size", type=int, metavar="N", help="pixels a side when served (default: that of training; ResNets)"
    )
    parser.add_argument(
        "--whiten",
        choices=KINDS,
        help="features less their mean, and their spread evened out, by training or held-out images (default: half)",
    )
    parser.add_argument("--name", help="name of the model (default: that of DIR)")
    parser.add_argument("--description", default="", help="one sentence for the card")
    parser.add_argument("--training-data", metavar="TEXT", help="what it was trained on, for the card")
    parser.add_argument("--licence", default="not stated", metavar="TEXT", help="of the weights, for the card")
    parser.add_argument(
        "--note", action="append", default=[], metavar="TEXT", help="a note for the card; may be repeated"
    )
    return parser


def _request(options: argparse.Namespace) -> Request:
    name = options.name or options.out.resolve().name.lower()
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"--name {name!r}: up to 64 of a-z, 0-9, dot, dash and underscore, the first a letter or digit"
        )
    default = "fp32,fp16" if options.images is None else "fp32,fp16,int8"
    return Request(
        checkpoint=options.checkpoint,
        out=options.out.resolve(),
        precisions=parse_precisions(default if options.precision is None else options.precision),
        words=Words(name, options.description, options.training_data, options.licence, tuple(options.note)),
        images=options.images,
        train_images=options.train_images,
        large_images=options.large_images,
        image_size=options.image_size,
        whiten=options.whiten,
        optional=("int8",) if options.precision is None and options.images is not None else (),
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
