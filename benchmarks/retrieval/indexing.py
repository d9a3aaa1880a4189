"""A folder into a collection, end to end, against embedding the same files without a server.

    python -m benchmarks.retrieval.indexing --data FOLDER|TAR... [--images 3000] [--rounds 1]

The images are those in a folder's tree, or in tar files, which are unpacked into a temporary folder; with --images so
many of them, drawn evenly. Each round runs `amcl-serve embed --out` and then `amcl-serve index` into an empty
collection of a server of its own, as commands, with the default model and settings. A rate is that of the command's own
last line, without the start of Python and the loading of the model: `index` finds a server that runs.

- `embed`, `index`: images a second, the best of the rounds.
- `index_over_embed`: the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import median

from amcl_serve.hosting.opening import find_bundle
from amcl_serve.model.image_files import ImageFiles
from benchmarks.processes import serving
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
        embed, index = [], []
        for number in range(options.rounds):
            embed.append(rate("embed", folder, "--out", str(work / f"{number}.npy")))
            with serving(find_bundle("default"), work / f"server{number}") as server:
                index.append(rate("index", folder, "--collection", "images", "--url", server.url))
    show("embed", max(embed), "images/s")
    show("index", max(index), "images/s")
    show("index_over_embed", median(ours / theirs for ours, theirs in zip(index, embed, strict=True)))
    return 0


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
    folder = work / "chosen"
    folder.mkdir()
    for number, file in enumerate(islice(files[:: max(1, len(files) // images)], images)):
        (folder / f"{number:07}{file.suffix}").symlink_to(file.resolve())
    return folder


def rate(command: str, folder: Path, *flags: str) -> float:
    """Images a second of a command, as it says itself."""
    words = [sys.executable, "-m", "amcl_serve.cli", command, str(folder), *flags]
    said = subprocess.run(words, stderr=subprocess.PIPE, text=True, check=True).stderr
    found = _SUMMARY.search(said.splitlines()[-1])
    assert found is not None, said
    return int(found[1]) / float(found[2])


if __name__ == "__main__":
    sys.exit(main())
