"""The image that a message or an input holds, in the form of chat clients: a list of parts, one of which is it."""

from __future__ import annotations

from typing import Any

NO_TEXT = "this server embeds images, not texts"


def image_of(parts: Any) -> str:
    """The data URI or base64 of the one image in `parts`; ValueError says what else they are.

    Parts are {"type": "image_url", "image_url": {"url": …}}, with the URL itself in place of the object as well, and
    texts, which are refused unless they are blank: a vector of the image alone would not be what was asked for.
    """
    if isinstance(parts, str):
        parts = [{"type": "text", "text": parts}]
    if not isinstance(parts, list):
        raise ValueError("a list of parts is wanted, one of which is an image_url")
    images = [image for part in parts if (image := _image(part)) is not None]
    if len(images) != 1:
        raise ValueError(f"{len(images)} images where one is wanted: each input is embedded by itself")
    return images[0]


def _image(part: Any) -> str | None:
    """What a part holds; None for a blank text."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        text = part.get("text")
        if isinstance(text, str) and not text.strip():
            return None
        raise ValueError(f"a text: {NO_TEXT}")
    if kind in ("image_url", "image"):
        found = part.get(kind)
        url = found.get("url") if isinstance(found, dict) else found
        if isinstance(url, str):
            return url
    raise ValueError('a part is {"type": "image_url", "image_url": {"url": "data:image/…;base64,…"}}')
