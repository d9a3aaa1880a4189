"""A file of pairs: two images by their paths, and whether they show the same thing."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np

from amcl_serve.errors import InvalidRequest
from amcl_serve.evaluation.dataset import Pairs
from amcl_serve.evaluation.datasets.folder import Folder

MOST_PAIRS = 1_000_000
MOST_LINE = 64 * 1024  # characters
COLUMNS = ("a", "b", "same")

_SAME = {"0": False, "1": True}


def open_pairs(path: Path, *, root: Path | None = None) -> Folder:
    """The images of a CSV file with the header a,b,same, or of a JSONL file with objects of these keys.

    `a` and `b` are paths of images relative to the file, or to `root`; `same` is 1 or 0. With a `root` nothing outside
    of it is read. InvalidRequest names the line that is wrong: other columns, another value, an image that is missing,
    more than MOST_PAIRS.
    """
    path = Path(path)
    base = Path(root) if root is not None else path.parent
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise InvalidRequest(f"{path.name}: pairs come in a .csv file with the header a,b,same, or in a .jsonl file")
    names: dict[str, int] = {}
    rows: list[tuple[int, int, bool]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for line, a, b, same in _csv(path.name, file) if path.suffix.lower() == ".csv" else _jsonl(path.name, file):
                where = f"{path.name}, line {line}"
                if len(rows) == MOST_PAIRS:
                    raise InvalidRequest(f"{where}: more than {MOST_PAIRS} pairs")
                numbers = []
                for each in (a, b):
                    if each not in names:
                        _check(base, each, where, inside=root is not None)
                        names[each] = len(names)
                    numbers.append(names[each])
                rows.append((numbers[0], numbers[1], same))
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path.name} is not UTF-8") from None
    if not rows:
        raise InvalidRequest(f"{path.name} has no pairs")
    first, second, flags = (np.array(column) for column in zip(*rows, strict=True))
    return Folder(path.name, base, list(names), pairs=Pairs(first.astype(np.int64), second.astype(np.int64), flags))


def _csv(name: str, file: TextIO) -> Iterator[tuple[int, str, str, bool]]:
    reader = csv.reader(_lines(name, file), strict=True)
    try:
        header = next(reader, [])
        if sorted(each.strip() for each in header) != sorted(COLUMNS):
            raise InvalidRequest(f"{name}, line 1: the header is a,b,same, not {','.join(header)[:200]!r}")
        at = [[each.strip() for each in header].index(column) for column in COLUMNS]
        for row in reader:
            where = f"{name}, line {reader.line_num}"
            if not row:
                continue
            if len(row) != len(COLUMNS):
                raise InvalidRequest(f"{where}: {len(row)} values, a,b,same are three")
            a, b, same = (row[column].strip() for column in at)
            if same not in _SAME:
                raise InvalidRequest(f"{where}: same is 0 or 1, not {same[:50]!r}")
            yield reader.line_num, a, b, _SAME[same]
    except csv.Error as error:
        raise InvalidRequest(f"{name}, line {reader.line_num}: {error}") from None


def _jsonl(name: str, file: TextIO) -> Iterator[tuple[int, str, str, bool]]:
    for line, text in enumerate(_lines(name, file), 1):
        if not text.strip():
            continue
        where = f"{name}, line {line}"
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):
            raise InvalidRequest(f'{where}: no JSON object; a line is {{"a": "…", "b": "…", "same": 1}}') from None
        if not isinstance(row, dict) or set(row) != set(COLUMNS):
            raise InvalidRequest(f"{where}: a line is an object with the keys a, b and same, and no others")
        if not isinstance(row["a"], str) or not isinstance(row["b"], str):
            raise InvalidRequest(f"{where}: a and b are paths of images")
        if row["same"] not in (0, 1) or isinstance(row["same"], float):
            raise InvalidRequest(f"{where}: same is 0 or 1, not {str(row['same'])[:50]}")
        yield line, row["a"], row["b"], bool(row["same"])


def _lines(name: str, file: TextIO) -> Iterator[str]:
    line = 0
    while text := file.readline(MOST_LINE + 1):
        line += 1
        if len(text) > MOST_LINE:
            raise InvalidRequest(f"{name}, line {line}: longer than {MOST_LINE} characters")
        yield text


def _check(base: Path, name: str, where: str, *, inside: bool) -> None:
    """InvalidRequest unless the image is there, and inside of `base` if it has to be."""
    if not name or "\0" in name:
        raise InvalidRequest(f"{where}: an image's path is missing")
    path = base / name
    if inside and not path.resolve().is_relative_to(base.resolve()):
        raise InvalidRequest(f"{where}: {name!r} leads out of the folder")
    if not path.is_file():
        raise InvalidRequest(f"{where}: there is no image {name!r}; paths are relative to the file of pairs")
