"""`amcl-serve embed`: image files to vectors, in this process."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from amcl_serve.commands.options import MODEL, add_settings, settings_from
from amcl_serve.errors import AmclError, StartupError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Add `embed`."""
    parser = subparsers.add_parser(
        "embed",
        help="embed image files, without a server",
        description="Embed image files in this process. Prints one JSON object a line, or writes an array with --out. "
        "Files that cannot be embedded are named on stderr, and the exit code is 1 if there were any.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="an image")
    parser.add_argument("--out", type=Path, metavar="FILE.npy", help="write one array, a row for each embedded file")
    parser.add_argument(
        "--outputs", choices=("features", "heads"), default="features", help="what to give (default: %(default)s)"
    )
    parser.add_argument("--normalize", action="store_true", help="scale features to unit norm (heads always have it)")
    add_settings(parser, MODEL)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Embed; 1 if any file failed."""
    settings = settings_from(args)
    import numpy as np
    import orjson

    from amcl_serve.commands.local import embed_files
    from amcl_serve.encoder import unit_norm
    from amcl_serve.registry import load_model

    model = load_model(settings)
    rows = []
    failed = 0
    for file, item in zip(args.files, embed_files(model, args.files, settings), strict=True):
        if isinstance(item, AmclError):
            print(f"{file}: {item.detail}", file=sys.stderr)
            failed += 1
            continue
        heads = args.outputs == "heads"
        vector = item.heads if heads else item.features
        if args.normalize and not heads:
            vector = unit_norm(vector).astype(np.float32)
        if args.out is not None:
            rows.append(vector)
        else:
            line = {"file": os.fsencode(file).decode("utf-8", "replace"), "heads" if heads else "embedding": vector}
            print(orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY).decode())
    if args.out is not None and rows:
        try:
            with args.out.open("wb") as stream:  # np.save would add .npy to a name without it
                np.save(stream, np.stack(rows), allow_pickle=False)
        except OSError as error:
            raise StartupError(f"{args.out} cannot be written: {error.strerror}") from None
        print(f"{len(rows)} of {len(args.files)} files in {args.out}", file=sys.stderr)
    return 1 if failed else 0
