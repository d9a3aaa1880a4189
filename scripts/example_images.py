"""Make the page's example images, from four photographs that scikit-image ships (CC0 or public domain), and its icon.

    python scripts/example_images.py SKIMAGE_DATA_FOLDER [OUT]

SKIMAGE_DATA_FOLDER is `skimage/data` of an unpacked scikit-image wheel; OUT is app/assets unless given.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

ASSETS = Path(__file__).parent.parent / "app" / "assets"
SIDE = 256  # pixels of the longer side
QUALITY = 84


def crop(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """The part of the image between four fractions of its width and height."""
    width, height = image.size
    return image.crop((int(left * width), int(top * height), int(right * width), int(bottom * height)))


def warm(image: Image.Image) -> Image.Image:
    """Turn the colours: more red, less blue, as an evening light does."""
    red, green, blue = image.split()
    return Image.merge("RGB", (red.point(lambda v: min(255, v * 1.15)), green, blue.point(lambda v: v * 0.75)))


def write(folder: Path, out: Path) -> None:
    """Write the example images into `out`."""
    cat = Image.open(folder / "chelsea.png").convert("RGB")
    cup = Image.open(folder / "coffee.png").convert("RGB")
    rocket = Image.open(folder / "rocket.jpg").convert("RGB")
    stars = Image.open(folder / "hubble_deep_field.jpg").convert("RGB")
    images = {
        "cat.jpg": cat,
        "cat-mirrored.jpg": warm(ImageOps.mirror(crop(cat, 0.12, 0.0, 0.82, 0.82))),
        "cup.jpg": crop(cup, 0.05, 0.0, 0.95, 1.0),
        "cup-grey.jpg": ImageOps.grayscale(crop(cup, 0.2, 0.12, 0.92, 0.92)).filter(ImageFilter.GaussianBlur(1)),
        "rocket.jpg": ImageEnhance.Brightness(crop(rocket, 0.1, 0.0, 0.9, 1.0)).enhance(1.1),
        "stars.jpg": crop(stars, 0.1, 0.1, 0.6, 0.5),
    }
    for name, image in images.items():
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        image.convert("RGB").save(out / name, quality=QUALITY, optimize=True)


def icon(out: Path) -> None:
    """Draw favicon.png: two overlapping frames."""
    image = Image.new("RGBA", (128, 128))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((8, 8, 84, 84), radius=16, fill="#0f766e")
    draw.rounded_rectangle((44, 44, 120, 120), radius=16, fill="#5fd0c2")
    draw.rounded_rectangle((44, 44, 84, 84), radius=12, fill="#d5efec")
    image.resize((64, 64), Image.Resampling.LANCZOS).save(out / "favicon.png", optimize=True)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    target = Path(sys.argv[2]) if len(sys.argv) == 3 else ASSETS
    write(Path(sys.argv[1]), target)
    icon(target)
