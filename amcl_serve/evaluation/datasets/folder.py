"""A folder of images, with or without classes, whole or in a bank and held-out images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from amcl_serve.errors import InvalidRequest, UnreadableFile
from amcl_serve.evaluation.dataset import Pairs
from amcl_serve.model.image_files import ImageFiles

MOST_BYTES = 256 * 1024 * 1024  # of a file
BANKS, QUERIES = ("train", "bank"), ("test", "val", "valid", "validation", "query", "queries")


@dataclass(frozen=True)
class Folder:
    """The images under `root`, by their names below it. `queries` [N] where some are held out (`Split`)."""

    name: str
    root: Path
    names: Sequence[str]
    labels: Sequence[str] | None = None
    pairs: Pairs | None = None
    queries: npt.NDArray[np.bool_] | None = None

    def read(self, index: int) -> bytes:
        """The file. UnreadableFile where it is gone, cannot be read, or is longer than any image that is taken."""
        return read_file(self.root / self.names[index])


def read_file(path: Path) -> bytes:
    """An image's file, of MOST_BYTES at most. Raises UnreadableFile."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {error.strerror}") from None
    if len(data) > MOST_BYTES:
        raise UnreadableFile(f"is longer than {MOST_BYTES >> 20} MiB")
    return data


def open_folder(path: Path, labels: bool = True, *, name: str = "") -> Folder:
    """The images under a folder, as `ImageFiles` walks it.

    With `labels`, the names of its first folders are classes, where all images are in one and there are at least two.
    A folder with train/ (or bank/) and test/ (or val/, query/) and nothing else is one of a bank and held-out images:
    those are the `queries`, and the classes are the folders below. InvalidRequest where there is no image.
    """
    path = Path(path)
    if not path.is_dir():
        raise InvalidRequest(f"{path} is no folder")
    names = ["/".join(each.relative_to(path).parts) for each in ImageFiles(path)]
    if not names:
        raise InvalidRequest(f"no images under {path}")
    tops = {each.split("/")[0] for each in names if "/" in each}
    bank, held = (next((top for top in tops_ if top in tops), None) for tops_ in (BANKS, QUERIES))
    apart = bank is not None and held is not None and tops == {bank, held} and all("/" in each for each in names)
    queries = np.array([each.startswith(f"{held}/") for each in names]) if apart else None
    return Folder(
        name or path.name or str(path), path, names, _classes(names, int(apart)) if labels else None, None, queries
    )


def _classes(names: Sequence[str], depth: int) -> list[str] | None:
    """The folder of each name `depth` below the root; None unless all are in one, and there are two or more."""
    parts = [each.split("/") for each in names]
    if any(len(each) < depth + 2 for each in parts):
        return None
    found = [each[depth] for each in parts]
    return found if len(set(found)) > 1 else None
