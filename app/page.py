"""The page itself: what the product does in one glance, and a tab for each thing to do with it."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from amcl_serve.hosting.registry import LoadedModel
from app.client import Client, Refused
from app.html import QUIET, block
from app.pictures import CACHE_SECONDS, Uploads
from app.tabs import compare, evaluate, explore, models, search

SYSTEM_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
MONO_FONTS = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace")
NOT_STATED = "not stated"  # how a card says that nobody said it

HEADER = """
<header class="masthead">
  <nav aria-label="Server"><strong>amcl-serve</strong>
    <span><a href="./docs">API</a><a href="./models">Model card</a></span></nav>
  <h1>How alike are your images?</h1>
  <p>A network trained without labels turns images into vectors. Score a pair, find a picture’s likes among
  thousands, see a whole collection as a map, and read how good the model is on your own pictures.</p>
</header>
"""
BY_HEADS = """The network looks at both images through its projection heads. Each head says how similar the pair is;
together they give one score and a verdict."""
BY_FEATURES = "The network turns each image into {dim:,} features. Their cosine is the pair’s score"
WITH_VERDICT = ", from which calibration makes a probability and a verdict."
WITHOUT_VERDICT = ". It is not calibrated, so it gives no verdict."


def theme() -> gr.themes.Base:
    """A quiet theme that loads no font."""
    return gr.themes.Base(
        primary_hue="teal", neutral_hue="slate", radius_size="lg", font=SYSTEM_FONTS, font_mono=MONO_FONTS
    )


def build(api: Client, uploads: Uploads) -> gr.Blocks:
    """The page, whose tabs ask `api` and read visitors' files from `uploads`."""

    async def opened() -> tuple[str, str, Any]:
        try:
            model, names = api.answering(), api.names()
        except Refused as refusal:
            return f'<p class="note note-bad">{escape(refusal.detail)}</p>', "", gr.skip()
        return f'<p class="lead">{introduce(model)}</p>', describe(model), compare.choice(names, model.name)

    page = gr.Blocks(
        title="amcl-serve: how alike are your images?",
        analytics_enabled=False,
        delete_cache=(CACHE_SECONDS, CACHE_SECONDS),
        fill_width=True,
    )
    with page:
        block(HEADER)
        with gr.Tabs(elem_id="tabs", overflow_behavior="wrap"):
            lead, model = compare.build(api, uploads)
            search.build(api, uploads)
            explore.build(api)
            evaluate.build()
            models.build(api)
        footer = block("")
        page.load(opened, None, [lead, footer, model], **QUIET)
    return page


def introduce(model: LoadedModel) -> str:
    """How this model compares two images."""
    card = model.bundle.card
    verdict = WITHOUT_VERDICT if model.scorer.calibration is None else WITH_VERDICT  # the one now in force
    return BY_HEADS if card.num_heads else BY_FEATURES.format(dim=card.feature_dim) + verdict


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
    return f'<footer class="colophon"><p>{" · ".join(parts)}</p></footer>'
