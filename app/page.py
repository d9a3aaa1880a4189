"""The page itself: two images, example pairs, the result panel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import anyio
import gradio as gr

from amcl_serve.hosting.registry import LoadedModel
from app import examples, result
from app.client import Refused

CACHE_SECONDS = 600  # age at which an uploaded file is deleted, and how often that is looked for
PLACEHOLDER = "Drop an image\nor click to choose one"
SYSTEM_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
NOT_STATED = "not stated"  # how a card says that nobody said it
MONO_FONTS = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace")

HEADER = """
<header class="masthead">
  <nav><strong>amcl-serve</strong><span><a href="./docs">API</a><a href="./models">Model card</a></span></nav>
  <h1>How alike are two images?</h1>
  <p>{said}</p>
</header>
"""
BY_HEADS = """A network trained without labels looks at both through its projection heads. Each head says how similar
the pair is. Together they give one score and a verdict."""
BY_FEATURES = "A network turns each image into {dim:,} features. Their cosine is the pair’s score"
WITH_VERDICT = ", from which calibration makes a probability and a verdict."
WITHOUT_VERDICT = ". It is not calibrated, so it gives no verdict."

Score = Callable[[bytes, bytes], Awaitable[Mapping[str, Any]]]  # to the answer of POST /similarity
Payload = dict[str, Any] | None  # how the page's library describes an uploaded file


def theme() -> gr.themes.Base:
    """A quiet theme that loads no font."""
    return gr.themes.Base(
        primary_hue="teal", neutral_hue="slate", radius_size="lg", font=SYSTEM_FONTS, font_mono=MONO_FONTS
    )


def build(score: Score, model: Callable[[], LoadedModel], uploads: Path) -> gr.Blocks:
    """The page; `score` answers a pair, `model` gives the model that answers (asked when a page loads).

    No file is read but those in `uploads` and the example pairs' own.
    """
    readable = uploads.resolve()

    async def read(which: str, payload: Payload) -> bytes:
        path = await anyio.to_thread.run_sync(uploaded, payload, readable)
        try:
            if path is not None:
                return await anyio.Path(path).read_bytes()
        except OSError:
            pass
        raise Refused(f"{which} image: it has been deleted from the server since it was added; add it again")

    async def compare(first: Payload, second: Payload) -> str:
        if not first or not second:
            return result.empty(first=bool(first), second=bool(second))
        try:
            answer = await score(await read("First", first), await read("Second", second))
        except Refused as refusal:
            return result.failure(refusal.detail)
        return result.result(answer, model().bundle.card)

    def take(event: gr.EventData) -> tuple[str, str]:
        index = event.pair
        if not isinstance(index, int) or not 0 <= index < len(examples.PAIRS):
            raise gr.Error("There is no such example pair.", print_exception=False)
        return examples.PAIRS[index].paths

    page = gr.Blocks(
        title="amcl-serve: how alike are two images?",
        analytics_enabled=False,
        delete_cache=(CACHE_SECONDS, CACHE_SECONDS),
        fill_width=True,
    )
    with page:
        header = _html(HEADER.format(said=""))
        with gr.Row(elem_id="desk"):
            with gr.Row(elem_id="pair"):
                first, second = _picture("First image", "first"), _picture("Second image", "second")
            panel = _html(result.empty(first=False, second=False), elem_id="result")
            pairs = _html(examples.buttons(), elem_id="examples", js_on_load=examples.ON_LOAD)
        footer = _html("")

        gr.on(
            [first.change, second.change],
            compare,
            [first, second],
            panel,
            preprocess=False,  # the file as it was sent, not as a library would open it: the server's decoder does that
            queue=False,
            show_progress="hidden",
            trigger_mode="always_last",
            api_visibility="private",
        )
        pairs.click(take, None, [first, second], queue=False, show_progress="hidden", api_visibility="private")
        page.load(
            lambda: (introduce(model()), describe(model())),
            None,
            [header, footer],
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )
    return page


def introduce(model: LoadedModel) -> str:
    """The page's head, which says how this model compares."""
    card = model.bundle.card
    verdict = WITHOUT_VERDICT if card.calibration is None else WITH_VERDICT
    return HEADER.format(said=BY_HEADS if card.num_heads else BY_FEATURES.format(dim=card.feature_dim) + verdict)


def describe(model: LoadedModel) -> str:
    """One line that names the model: where it comes from, its heads or features, precision."""
    card = model.bundle.card
    if card.temperature is None:
        trained = "" if card.training_data in ("", NOT_STATED) else f", trained on {card.training_data}"
        origin = ("an ONNX file" if card.backbone == "onnx" else card.backbone) + trained
        what = f"{card.feature_dim:,} features, no heads"
    else:
        origin = f"{card.method} on {card.backbone}"
        heads = f"{card.num_heads} head" + ("s" if card.num_heads > 1 else "")
        what = f"{heads}, {card.temperature.kind} temperature"
    parts = (
        f"<strong>{escape(card.name)}</strong>",
        escape(origin),
        what,
        f"{card.input.size} px",
        f"{model.encoder.precision} on {escape(model.encoder.provider.removesuffix('ExecutionProvider'))}",
    )
    return (
        f'<footer class="colophon"><p>{" · ".join(parts)}</p>'
        f"<p>Images are deleted from the server within {2 * CACHE_SECONDS // 60} minutes.</p></footer>"
    )


def _html(value: str, **options: Any) -> gr.HTML:
    return gr.HTML(value, apply_default_css=False, **options)


def _picture(label: str, elem_id: str) -> gr.Image:
    """An upload box whose files come from uploads alone."""
    picture: Any = gr.Image(
        label=label,
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
        height=230,
        buttons=[],
        placeholder=PLACEHOLDER,
        elem_id=elem_id,
        min_width=140,
    )
    move = picture.async_move_resource_to_block_cache

    async def move_local(source: str | Path | None) -> str | None:
        if isinstance(source, str) and "://" in source:  # the library would fetch it
            raise gr.Error("Images are not fetched by URL: send the file itself.", print_exception=False)
        moved: str | None = await move(source)
        return moved

    picture.async_move_resource_to_block_cache = move_local
    box: gr.Image = picture
    return box


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
