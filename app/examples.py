"""The examples: pairs of files of app/assets, a button for each, and a collection made of many views of the files."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from PIL import Image, ImageEnhance, ImageOps, ImageStat

from amcl_serve.client import Point

if TYPE_CHECKING:
    from app.client import Client

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


COLLECTION = "examples"
SUBJECTS = ("cat", "cup", "rocket", "stars")  # their files in ASSETS
VIEWS = 16  # of each


async def make_collection(api: Client) -> None:
    """Write the views into a collection of their own, which is made if it is not there; Refused with the reason."""
    points = await anyio.to_thread.run_sync(lambda: list(views()))
    if COLLECTION not in await api.collections():
        await api.create(COLLECTION, heads=api.answering().bundle.card.num_heads > 0)
    await api.write(COLLECTION, points)


def views() -> Iterator[Point]:
    """Each subject whole, the same again, and in crops of which some are mirrored, darker or grey; always the same."""
    chance = random.Random(0)  # noqa: S311 - nothing is kept secret by it
    for subject in SUBJECTS:
        with Image.open(ASSETS / f"{subject}.jpg") as opened:
            whole = opened.convert("RGB")
        for index in range(VIEWS):
            view, made = (whole, "whole") if index < 2 else _view(whole, chance)
            brightness = round(ImageStat.Stat(view.convert("L")).mean[0] / 255, 3)
            payload = {"name": f"{subject} {index + 1}", "subject": subject, "view": made, "brightness": brightness}
            file = io.BytesIO()
            view.save(file, "PNG")
            yield Point(id=len(SUBJECTS) * index + SUBJECTS.index(subject) + 1, payload=payload, image=file.getvalue())


def _view(whole: Image.Image, chance: random.Random) -> tuple[Image.Image, str]:
    share = chance.uniform(0.45, 0.85)
    width, height = int(share * whole.width), int(share * whole.height)
    left, top = chance.randint(0, whole.width - width), chance.randint(0, whole.height - height)
    view = whole.crop((left, top, left + width, top + height))
    made = chance.choice(("cropped", "mirrored", "darker", "grey"))
    if made == "mirrored":
        view = ImageOps.mirror(view)
    elif made == "darker":
        view = ImageEnhance.Brightness(view).enhance(0.6)
    elif made == "grey":
        view = ImageOps.grayscale(view).convert("RGB")
    return view, made


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
