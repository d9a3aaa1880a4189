"""`amcl-serve index`: a folder of images into a collection of a running server.

A point's id is made from the file's path within the folder, its payload holds the file's hash. So a second run sends
only what is new or changed, and a run that was cut off goes on where it stopped. The payload holds the folder too, so
that `--prune` removes what has vanished from this folder, and nothing that came from elsewhere.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, UUID, uuid5

from amcl_serve.client import Client, Point
from amcl_serve.commands.bulk.files import SUFFIXES, walk
from amcl_serve.commands.bulk.progress import BROKEN, Progress
from amcl_serve.commands.bulk.sending import MAX_BATCH, Item, Outcome, deliver, groups, send
from amcl_serve.commands.client import add_connection, connection
from amcl_serve.errors import AmclError, CollectionMismatch, CollectionNotFound, StartupError
from amcl_serve.model.image_files import ImageFiles

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

NAMESPACE = uuid5(NAMESPACE_URL, "amcl-serve:index")
INDEXED, PRESENT = "indexed", "already there"
WATCH_SECONDS = 2.0  # between two looks at a watched folder; a file is sent once it is the same in two of them
Report = Callable[[str, str, str], None]  # relative path, outcome (these or BROKEN), reason if broken


def add_parser(subparsers: Subparsers) -> None:
    """Add `index`."""
    parser = subparsers.add_parser(
        "index",
        help="put a folder of images into a collection of a running server",
        description="Put every image of a folder tree into a collection, which is made if need be. Images that are "
        "there already, unchanged, are skipped: after an interruption, run the same command again. Broken images are "
        "named and skipped.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help=f"searched for {', '.join(sorted(SUFFIXES))}")
    add_connection(parser)
    parser.add_argument(
        "--batch", type=_number, default=128, metavar="N", help="images a request (default: %(default)s)"
    )
    parser.add_argument(
        "--prune", action="store_true", help="remove the points of files that are no longer in the folder"
    )
    parser.add_argument(
        "--watch", action="store_true", help="go on: send what is added or changed from then on, until Ctrl-C"
    )
    parser.add_argument("--recreate", action="store_true", help="remove the collection and its points first")
    parser.add_argument("--thumbnails", action="store_true", help="make a collection that keeps thumbnails")
    parser.add_argument(
        "--heads", action="store_true", help="make one that keeps heads, which reranking by pairs needs"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Index; 1 if no image could be, 130 if interrupted."""
    sent = _signatures(args.folder) if args.watch else {}
    files = find_images(args.folder)
    progress = Progress(len(files), (INDEXED, PRESENT, BROKEN))
    again = "run the same command again to go on from here"
    if args.recreate:
        again += " (without --recreate)"
    try:
        with connection(args, max_items=MAX_BATCH) as client:
            prepare(client, args.collection, recreate=args.recreate, thumbnails=args.thumbnails, heads=args.heads)
            _index(client, args, files, progress)
            if args.prune:
                progress.note(f"{prune(client, args.collection, args.folder, files)} removed, whose files are gone")
            if args.watch:
                progress.end(progress.summary())
                watch(client, args, sent)
    except KeyboardInterrupt:
        if args.watch and progress.done == len(files):
            return 0
        progress.end(f"interrupted: {progress.summary()}; {again}")
        return 130
    except AmclError as error:
        sentence = error.detail
        if isinstance(error, CollectionMismatch):
            sentence += "; --recreate makes this collection anew"
        if progress.done:
            sentence += f" ({progress.summary()}; {again})"
        progress.end()
        raise StartupError(sentence) from None
    progress.end(progress.summary())
    return 0 if progress.counts[INDEXED] or progress.counts[PRESENT] else 1


def find_images(folder: Path) -> list[str]:
    """Paths of the images in the tree, relative to `folder`, sorted; raises as `walk`."""
    return sorted(path.relative_to(folder).as_posix() for path in walk(folder))


def prepare(client: Client, collection: str, *, recreate: bool, thumbnails: bool = False, heads: bool = False) -> None:
    """Make the collection (Cosine, of the model's size) if it is missing, or in any case with `recreate`.

    StartupError where it is there and does not keep what is asked for.
    """
    if recreate:
        client.delete_collection(collection)
    try:
        found = client.collection(collection)
    except CollectionNotFound:
        client.create_collection(collection, thumbnails=thumbnails, heads=heads)
        return
    for name, asked in (("thumbnails", thumbnails), ("heads", heads)):
        if asked and not found.get(name, False):
            raise StartupError(
                f"collection {collection!r} keeps no {name}, which is decided when it is made: "
                f"leave --{name} out, or make it anew with --recreate"
            )


def index_files(
    client: Client,
    collection: str,
    folder: Path,
    files: list[str],
    *,
    batch: int,
    report: Report,
    owned: bool = False,
) -> None:
    """Send what the collection does not have yet; `report` is called for a file once its outcome is certain.

    `owned`: what is there as another folder's is sent too.
    """

    def work(group: list[Item]) -> list[Outcome]:
        stored = client.retrieve(collection, [item.point.id for item in group])
        payloads = {point["id"]: point["payload"] for point in stored}
        outcomes: list[Outcome] = []
        wanted = []
        for item in group:
            has, asked = payloads.get(str(item.point.id), {}), item.point.payload or {}
            if has.get("sha256") == asked["sha256"] and (not owned or has.get("folder") == asked["folder"]):
                outcomes.append((item, PRESENT, ""))
            else:
                wanted.append(item)
        return outcomes + send(client, collection, wanted, INDEXED)

    deliver(
        groups(_items(folder, files, report), batch),
        work,
        lambda outcome: report(outcome[0].name, outcome[1], outcome[2]),
    )


def prune(client: Client, collection: str, folder: Path, files: list[str]) -> int:
    """Delete the points that came from this folder and whose files are not among `files`; how many there were."""
    kept = set(files)
    mine = {"must": [{"key": "folder", "match": {"value": str(folder.resolve())}}]}
    gone: list[Any] = []
    start: Any = None
    while True:
        page = client.scroll(collection, limit=MAX_BATCH, offset=start, filter=mine)
        gone += [point["id"] for point in page["points"] if point["payload"].get("path") not in kept]
        start = page["next_page_offset"]
        if start is None:
            break
    if gone:
        client.delete(collection, gone)
    return len(gone)


def watch(client: Client, args: argparse.Namespace, sent: dict[str, tuple[int, int]]) -> None:
    """Follow the folder, of which `sent` has been sent, until Ctrl-C.

    A look that finds no image at all, as where a disk was taken out, is passed over.
    """
    print(f"watching {args.folder}; Ctrl-C ends it", file=sys.stderr, flush=True)
    before = sent
    while True:
        time.sleep(WATCH_SECONDS)
        now = _signatures(args.folder)
        if not now:
            continue
        changed = sorted(path for path, signature in now.items() if before.get(path) == signature != sent.get(path))
        vanished = [path for path in sent if path not in now and path not in before]
        before = now
        if changed:
            progress = Progress(len(changed), (INDEXED, PRESENT, BROKEN))
            _index(client, args, changed, progress)
            progress.end(progress.summary())
        if vanished and args.prune:
            client.delete(args.collection, [str(_id(path)) for path in vanished])
            print(f"{len(vanished)} removed, whose files are gone", file=sys.stderr, flush=True)
        sent = {path: signature for path, signature in sent.items() if path not in vanished}
        sent |= {path: now[path] for path in changed}


def _index(client: Client, args: argparse.Namespace, files: list[str], report: Report) -> None:
    index_files(client, args.collection, args.folder, files, batch=args.batch, report=report, owned=args.prune)


def _signatures(folder: Path) -> dict[str, tuple[int, int]]:
    """When each image of the tree was changed, and its size, by its path; nothing where there are no images."""
    found = {}
    for path in ImageFiles(folder, unreadable=lambda _: None):
        with contextlib.suppress(OSError, UnicodeEncodeError):
            status = path.stat()
            _id(name := path.relative_to(folder).as_posix())
            found[name] = (status.st_mtime_ns, status.st_size)
    return found


def _id(path: str) -> UUID:
    """A file's point; UnicodeEncodeError for a name that is not UTF-8."""
    return uuid5(NAMESPACE, path)


def _items(folder: Path, files: list[str], report: Report) -> Iterator[Item]:
    """The files' contents as points; unreadable ones are reported as broken."""
    home = str(folder.resolve())
    for path in files:
        try:
            data = (folder / path).read_bytes()
            payload = {"path": path, "folder": home, "sha256": hashlib.sha256(data).hexdigest()}
            item = Item(path, Point(_id(path), payload, image=data), len(data))
        except OSError as error:
            report(path, BROKEN, f"cannot be read: {error.strerror}")
            continue
        except UnicodeEncodeError:
            report(path, BROKEN, "its name is not UTF-8")
            continue
        yield item


def _number(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_BATCH:
        raise argparse.ArgumentTypeError(f"1 to {MAX_BATCH}, not {number}")
    return number
