"""`amcl-serve embed`: image files and folders to vectors, in this process."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amcl_serve.commands.bulk.files import SUFFIXES, expand
from amcl_serve.commands.bulk.interrupts import held_back
from amcl_serve.commands.bulk.parquet import ROW_GROUP, require_pyarrow, write_parquet
from amcl_serve.commands.bulk.progress import BROKEN, Progress
from amcl_serve.commands.bulk.unfinished import Item, Unfinished, sync
from amcl_serve.commands.options import MODEL, add_settings, settings_from
from amcl_serve.errors import AmclError, StartupError

if TYPE_CHECKING:
    from amcl_serve.engine.submissions import Embedded
    from amcl_serve.hosting.registry import LoadedModel
    from amcl_serve.settings import Settings

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

AGAIN = "run the same command again to go on from here"


def add_parser(subparsers: Subparsers) -> None:
    """Add `embed`."""
    parser = subparsers.add_parser(
        "embed",
        help="embed image files and folders, without a server",
        description="Embed images in this process. Prints one JSON object a line, or writes all vectors to --out, with "
        "progress; then, after an interruption of any kind, run the same command again, and it goes on where it was. "
        "Images that cannot be embedded are named on stderr, and the exit code is 1 if there were any.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help=f"an image, or a folder, which is searched with its sub-folders for {', '.join(sorted(SUFFIXES))}",
    )
    parser.add_argument(
        "--out",
        type=_out,
        metavar="FILE",
        help="FILE.npy: one array, with the images' names beside it in FILE.names.jsonl; FILE.parquet: columns name "
        "and embedding. Images without a vector are listed in FILE.skipped.jsonl",
    )
    parser.add_argument(
        "--outputs", choices=("features", "heads"), default="features", help="what to give (default: %(default)s)"
    )
    parser.add_argument("--normalize", action="store_true", help="scale features to unit norm (heads always have it)")
    parser.add_argument("--restart", action="store_true", help="forget what an interrupted run has written for --out")
    add_settings(parser, MODEL)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Embed; 1 if any image was skipped, 130 if interrupted."""
    settings = settings_from(args)
    if args.out is not None and args.out.suffix == ".parquet":
        require_pyarrow()
    from amcl_serve.hosting.opening import load_model

    model = load_model(settings)
    model.bundle.card.check_outputs([args.outputs])
    return _print(args, model, settings) if args.out is None else _write(args, model, settings)


def _print(args: argparse.Namespace, model: LoadedModel, settings: Settings) -> int:
    """One JSON object a line on stdout, a line on stderr for each image that has none."""
    import orjson

    from amcl_serve.commands.bulk.local import batches, embed_batches

    failed = 0
    kind = "heads" if args.outputs == "heads" else "embedding"
    groups = batches(expand(args.paths), settings.max_batch)
    with held_back() as check:
        for files, items in embed_batches(model, groups, settings):
            for file, item in zip(files, items, strict=True):
                row = _row(item, args)
                if isinstance(row, AmclError):
                    print(f"{file}: {row.detail}", file=sys.stderr)
                    failed += 1
                    continue
                line = {"file": os.fsencode(file).decode("utf-8", "replace"), kind: row}
                print(orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY).decode())
            check()
    return 1 if failed else 0


def _write(args: argparse.Namespace, model: LoadedModel, settings: Settings) -> int:
    """All vectors into a file, by way of a run that can be gone on with."""
    from amcl_serve.commands.bulk.local import embed_batches

    card, encoder = model.bundle.card, model.encoder
    shape = (card.num_heads, card.head_dim) if args.outputs == "heads" else (card.feature_dim,)
    asked = {
        "model": model.bundle.digest,
        "precision": encoder.precision,
        "provider": encoder.provider,
        "outputs": args.outputs,
        "normalize": args.normalize,
        "max_batch": settings.max_batch,  # other batches, other last bits
        "max_pixels": settings.max_pixels,
    }
    try:
        unfinished = Unfinished(
            args.out, asked, lambda: expand(args.paths), shape=shape, batch=settings.max_batch, restart=args.restart
        )
    except OSError as error:
        raise StartupError(f"{args.out} cannot be written: {error.strerror}") from None
    progress = Progress(unfinished.total, ("embedded", BROKEN), before=unfinished.done)
    try:
        if unfinished.done:
            progress.end(f"going on after {unfinished.done} of {unfinished.total} images")
        with held_back() as check:
            for files, items in embed_batches(model, unfinished.remaining(), settings):
                rows = [_row(item, args) for item in items]
                unfinished.record(rows)
                for file, row in zip(files, rows, strict=True):
                    if isinstance(row, AmclError):
                        progress(str(file), BROKEN, row.detail)
                    else:
                        progress(str(file), "embedded")
                check()
        _finish(unfinished, shape, {"model": model.name, "digest": model.bundle.digest})
    except KeyboardInterrupt:
        progress.end(f"interrupted: {progress.summary()}; {AGAIN}")
        return 130
    except OSError as error:
        progress.end()
        raise StartupError(f"{args.out} cannot be written: {error.strerror} ({progress.summary()}; {AGAIN})") from None
    finally:
        unfinished.close()
    said = f"; those are listed in {_beside(args.out, 'skipped')}" if unfinished.skipped else ""
    progress.end(f"{args.out}: {unfinished.rows} vectors ({progress.summary()}{said})")
    return 1 if unfinished.skipped else 0


def _row(item: Embedded | AmclError, args: argparse.Namespace) -> Item:
    """The vector that was asked for, float32 [D] or [C, d']."""
    if isinstance(item, AmclError):
        return item
    if args.outputs == "heads":
        return item.heads
    if not args.normalize:
        return item.features
    import numpy as np

    from amcl_serve.model.encoder import unit_norm

    return unit_norm(item.features).astype(np.float32)


def _finish(unfinished: Unfinished, shape: tuple[int, ...], metadata: dict[str, str]) -> None:
    """Write the files beside the vectors, then the vectors."""
    out = unfinished.out
    skipped = _beside(out, "skipped")
    if unfinished.skipped:
        _write_lines(skipped, _skipped(unfinished))
    else:
        skipped.unlink(missing_ok=True)
    if out.suffix == ".npy":
        _write_lines(_beside(out, "names"), ({"file": name} for name in _named(unfinished)))
        unfinished.finish()
    else:
        rows = unfinished.stored(ROW_GROUP)
        unfinished.finish(lambda path: write_parquet(path, _named(unfinished), rows, shape=shape, metadata=metadata))


def _named(unfinished: Unfinished) -> Iterator[str]:
    return (name for name, failure in unfinished.outcomes() if failure is None)


def _skipped(unfinished: Unfinished) -> Iterator[dict[str, str]]:
    for name, failure in unfinished.outcomes():
        if failure is not None:
            yield {"file": name, "code": failure.code, "reason": failure.reason}


def _write_lines(path: Path, lines: Iterator[dict[str, Any]]) -> None:
    """JSON lines in ASCII: a name's bytes that are not UTF-8 are lone surrogates, as Python reads them back."""
    fresh = path.with_name(path.name + ".new")
    with fresh.open("w", encoding="ascii") as stream:
        stream.writelines(json.dumps(line) + "\n" for line in lines)
    sync(fresh)
    fresh.replace(path)


def _beside(out: Path, what: str) -> Path:
    return out.with_name(f"{out.stem}.{what}.jsonl")


def _out(text: str) -> Path:
    path = Path(text)
    if path.suffix not in (".npy", ".parquet"):
        raise argparse.ArgumentTypeError(f"{text!r} ends in neither .npy nor .parquet")
    return path
