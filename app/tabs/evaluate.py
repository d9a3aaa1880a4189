"""Evaluate: what a model is worth on the images of a collection. What runs is in `app/assets/evaluate.js`."""

from __future__ import annotations

import gradio as gr

from app.html import block
from app.show import evaluation

ON_LOAD = """
import(new URL('./page/scripts/evaluate.js', document.baseURI).href).then((script) => script.start(element));
"""


def build() -> None:
    """The tab, which asks the API's routes /evaluations from the browser and polls the one that runs."""
    with gr.Tab("Evaluate", id="evaluate", elem_id="evaluate"):
        block(evaluation.board(), elem_id="evaluation", js_on_load=ON_LOAD)
