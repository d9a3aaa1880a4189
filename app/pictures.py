"""Pictures that visitors give: the box that takes one, and the reading of its file, which must be an upload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import gradio as gr

from app import examples
from app.client import Refused

CACHE_SECONDS = 600  # age at which an uploaded file is deleted, and how often that is looked for
DELETED = f'<p class="origin">What you add here leaves the server within {2 * CACHE_SECONDS // 60} minutes.</p>'
PLACEHOLDER = "Drop an image\nor click to choose one"
Payload = dict[str, Any] | None  # how the page's library describes an uploaded file


class Uploads:
    """The folder of the uploaded files; no file is read but those in it and the example pairs' own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    async def read(self, which: str, payload: Payload) -> bytes:
        """The bytes of the file that a payload names; Refused, calling it `which`, where there is none to be read."""
        path = await anyio.to_thread.run_sync(uploaded, payload, self._folder)
        try:
            if path is not None:
                return await anyio.Path(path).read_bytes()
        except OSError:
            pass
        raise Refused(f"{which}: it has been deleted from the server since it was added; add it again")


def picture(label: str, elem_id: str, *, height: int = 230) -> gr.Image:
    """An upload box whose files come from uploads alone."""
    box: Any = gr.Image(
        label=label,
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
        height=height,
        buttons=[],
        placeholder=PLACEHOLDER,
        elem_id=elem_id,
        elem_classes=["picture"],
        min_width=140,
    )
    move = box.async_move_resource_to_block_cache

    async def move_local(source: str | Path | None) -> str | None:
        if isinstance(source, str) and "://" in source:  # the library would fetch it
            raise gr.Error("Images are not fetched by URL: send the file itself.", print_exception=False)
        moved: str | None = await move(source)
        return moved

    box.async_move_resource_to_block_cache = move_local
    made: gr.Image = box
    return made


def uploaded(payload: object, uploads: Path) -> Path | None:
    """The file that a payload names, if it lies in `uploads` (resolved) or is an example; None for any other.

    The page's library asks this only of payloads that call themselves files; a caller may leave that out.
    """
    path = payload.get("path") if isinstance(payload, dict) else None
    if not isinstance(path, str):
        return None
    try:
        found = Path(path).resolve()
        mine = found.is_relative_to(uploads) or found in examples.FILES
        return found if mine and found.is_file() else None
    except (OSError, ValueError):  # ValueError: a NUL character
        return None
