"""The example pairs: files of app/assets, and the row of buttons that puts one pair into the page."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from pathlib import Path

ASSETS = Path(__file__).parent / "assets"

# A click on a pair's button is handed to the page's library as an event that carries the pair's number.
ON_LOAD = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-pair]');
  if (button) trigger('click', {pair: Number(button.dataset.pair)});
});
"""


@dataclass(frozen=True)
class ExamplePair:
    """Two shipped images and what they are."""

    title: str
    first: str  # file names in ASSETS
    second: str

    @property
    def paths(self) -> tuple[str, str]:
        """Absolute paths of the two files."""
        return str(ASSETS / self.first), str(ASSETS / self.second)


PAIRS = (
    ExamplePair("One cat: cropped, mirrored, warmer", "cat.jpg", "cat-mirrored.jpg"),
    ExamplePair("One cup: cropped, blurred, grey", "cup.jpg", "cup-grey.jpg"),
    ExamplePair("A cat and a cup", "cat.jpg", "cup.jpg"),
    ExamplePair("A rocket and stars", "rocket.jpg", "stars.jpg"),
)
FILES = frozenset(Path(path).resolve() for pair in PAIRS for path in pair.paths)


def buttons() -> str:
    """HTML of one button a pair, with its images inside as data URIs."""
    items = "".join(
        f'<button type="button" data-pair="{index}"><span class="thumbs">{_thumb(pair.first)}{_thumb(pair.second)}'
        f"</span><span>{escape(pair.title)}</span></button>"
        for index, pair in enumerate(PAIRS)
    )
    return f'<h3>Example pairs</h3><div class="examples">{items}</div>'


def _thumb(name: str) -> str:
    data = base64.b64encode((ASSETS / name).read_bytes()).decode("ascii")
    return f'<img alt="" src="data:image/jpeg;base64,{data}">'
