"""The lists in docs/images.md are what decoding does: UPDATE_IMAGES=1 writes them, else a difference fails."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from amcl_serve.errors import UnsupportedImage
from amcl_serve.model.formats.reading import Wanted, read
from amcl_serve.model.pixels import upright
from tests.amcl_serve.model.decoded import at_once
from tests.app.server import ROOT
from tests.tiffs import COLOURS, COMPRESSIONS, DEPTHS, Cell, grid
from tests.variants import variants

PAGE = ROOT / "docs" / "images.md"
WHOLE = Wanted(0, False, 10**6, False)


def accepted(data: bytes) -> bool:
    """Whether a file is decoded; any other error than a refusal of its variant is a failure."""
    try:
        upright(data)
    except UnsupportedImage:
        return False
    return True


def formats() -> Iterator[str]:
    """A line a format: what is accepted of it, what refused."""
    said: dict[str, dict[bool, list[str]]] = {}
    for variant in variants():
        said.setdefault(variant.format, {True: [], False: []})[accepted(variant.data)].append(variant.name)
    yield "| format | accepted | refused |"
    yield "| --- | --- | --- |"
    for name, lists in said.items():
        yield f"| {name} | {'; '.join(grouped(lists[True]))} | {'; '.join(grouped(lists[False]))} |"


def grouped(names: list[str]) -> list[str]:
    """Names that differ in their bits only, as one."""
    found: dict[str, list[str]] = {}
    for name in names:
        match = re.fullmatch(r"(.*), (\d+) bits?", name)
        found.setdefault(match[1] if match else name, []).extend([match[2]] if match else [])
    return [f"{name}, {', '.join(bits)} bits" if bits else name for name, bits in found.items()]


def tiffs() -> Iterator[str]:
    """A line for each kind of colours: by depth, whether it is accepted."""
    said: dict[tuple[str, str], bool] = {}
    for cell in grid():
        if (cell.colours, cell.depth) not in said:
            said[cell.colours, cell.depth] = tiff_accepted(cell)
    yield "| TIFF | " + " | ".join(DEPTHS) + " |"
    yield "| --- " * (len(DEPTHS) + 1) + "|"
    for colours in COLOURS:
        marks = ({True: "yes", False: "no", None: ""}[said.get((colours, depth))] for depth in DEPTHS)
        yield f"| {colours} | " + " | ".join(marks) + " |"


def tiff_accepted(cell: Cell) -> bool:
    try:
        read(cell.file()[0], "TIFF", WHOLE, at_once, in_child=True)
    except UnsupportedImage:
        return False
    return True


def packed() -> Iterator[str]:
    """The compressions of samples, each tried in full colour."""
    for name in COMPRESSIONS:
        cell = Cell("RGB", "u8", "<", name, 1, False, False, False)
        yield f"- {name}" + ("" if tiff_accepted(cell) else ": refused")


def test_the_page_lists_what_is_accepted() -> None:
    text = PAGE.read_text()
    for name, lines in (("formats", formats()), ("tiff", tiffs()), ("compressions", packed())):
        block = f"<!-- {name} -->\n" + "\n".join(lines) + f"\n<!-- end of {name} -->"
        found = re.search(rf"<!-- {name} -->\n.*?<!-- end of {name} -->", text, re.DOTALL)
        assert found, name
        if os.environ.get("UPDATE_IMAGES"):
            text = text.replace(found[0], block)
            PAGE.write_text(text)
        else:
            assert found[0] == block
