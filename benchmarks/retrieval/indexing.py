"""A folder into a collection, end to end, against embedding the same files without a server.

    python -m benchmarks.retrieval.indexing --data FOLDER|TAR... [--images 3000] [--rounds 1]

The images are those in a folder's tree, or in tar files, which are unpacked into a temporary folder; with --images so
many of them, drawn evenly. Each round runs `amcl-serve embed --out` and then `amcl-serve index` into an empty
collection of a server of its own, as commands, with the default model and settings. A rate is that of the command's own
last line, without the start of Python and the loading of the model: `index` finds a server that runs.

- `embed`, `index`: images a second, the best of the rounds.
- `index_over_embed`: the median of the rounds' ratios.
- `embed_cpu_ms`, `index_cpu_ms`: processor time an image, of `index` client and server together, without what the same
  commands take for one image; `index_over_embed_by_cpu`: the one over the other, which is what `index_over_embed` would
  be where nothing else runs and neither waits.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median

from amcl_serve.hosting.opening import find_bundle
from amcl_serve.model.image_files import ImageFiles
from benchmarks.processes import Server, serving
from benchmarks.retrieval.__main__ import show

_SUMMARY = re.compile(r"(\d+) (?:embedded|indexed).* in ([\d.]+) s")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retrieval.indexing")
    parser.add_argument("--data", type=Path, required=True, nargs="+")
    parser.add_argument("--images", type=int)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folder = laid_out(options.data, work, options.images)
        one = laid_out([folder], work, 1)
        embed, index = [], []
        for number in range(options.rounds):
            embed.append(embedded(folder, work).less(embedded(one, work)))
            with serving(find_bundle("default"), work / f"server{number}") as server:
                start = indexed(one, server, "one")
                index.append(indexed(folder, server, "all").less(start))
    rounds = list(zip(index, embed, strict=True))
    show("embed", max(each.rate for each in embed), "images/s")
    show("index", max(each.rate for each in index), "images/s")
    show("index_over_embed", median(ours.rate / theirs.rate for ours, theirs in rounds))
    show("embed_cpu_ms", 1000 * median(each.cpu for each in embed))
    show("index_cpu_ms", 1000 * median(each.cpu for each in index))
    show("index_over_embed_by_cpu", median(theirs.cpu / ours.cpu for ours, theirs in rounds))
    return 0


@dataclass(frozen=True)
class Cost:
    """What a command took: images a second, as it says itself, and processor seconds, in all or an image."""

    images: int
    rate: float
    cpu: float

    def less(self, start: Cost) -> Cost:
        """An image's share, without what the command takes for one image."""
        return Cost(self.images, self.rate, (self.cpu - start.cpu) / (self.images - 1))


def embedded(folder: Path, work: Path) -> Cost:
    """`amcl-serve embed`."""
    out = work / "out.npy"
    cost = run("embed", folder, "--out", str(out))
    out.unlink()
    return cost


def indexed(folder: Path, server: Server, collection: str) -> Cost:
    """`amcl-serve index`, with what the server took."""
    before = server.cpu_seconds()
    cost = run("index", folder, "--collection", collection, "--url", server.url)
    return Cost(cost.images, cost.rate, cost.cpu + server.cpu_seconds() - before)


def laid_out(data: Sequence[Path], work: Path, images: int | None) -> Path:
    """A folder of the images, or of `images` of them, drawn evenly from all, as links."""
    source = data[0]
    if not source.is_dir():
        source = work / "unpacked"
        for tar in data:
            with tarfile.open(tar) as opened:
                opened.extractall(source, filter="data")
    if images is None:
        return source
    files = list(ImageFiles(source))
    folder = Path(tempfile.mkdtemp(dir=work))
    for number, file in enumerate(islice(files[:: max(1, len(files) // images)], images)):
        (folder / f"{number:07}{file.suffix}").symlink_to(file.resolve())
    return folder


def run(command: str, folder: Path, *flags: str) -> Cost:
    """A command, in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [sys.executable, "-m", "amcl_serve.cli", command, str(folder), *flags]
    said = subprocess.run(words, stderr=subprocess.PIPE, text=True, check=True).stderr
    found = _SUMMARY.search(said.splitlines()[-1])
    assert found is not None, said
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(int(found[1]), int(found[1]) / max(float(found[2]), 0.1), cpu)


if __name__ == "__main__":
    sys.exit(main())
