"""Compare: two images, example pairs, the verdict and what each head sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from app import examples
from app.client import Client, Refused
from app.html import QUIET, block
from app.pictures import DELETED, Payload, Uploads, picture
from app.show import pair


def choice(names: Sequence[str], chosen: str) -> gr.Dropdown:
    """The choice of a model, which shows where there is one."""
    return gr.Dropdown(choices=list(names), value=chosen, visible=len(names) > 1)


def build(api: Client, uploads: Uploads) -> tuple[gr.HTML, gr.Dropdown]:
    """The tab; returns what tells of the model, and the choice of one, which shows where several are loaded."""

    async def compare(first: Payload, second: Payload, model: str | None) -> str:
        if not first or not second:
            return pair.empty(first=bool(first), second=bool(second))
        try:
            card = api.answering(model).bundle.card
            one, two = await uploads.read("First image", first), await uploads.read("Second image", second)
            return pair.result(await api.similarity(one, two, model or None), card)
        except Refused as refusal:
            return pair.failure(refusal.detail)

    def take(event: gr.EventData) -> tuple[str, str]:
        index = event.pair
        if not isinstance(index, int) or not 0 <= index < len(examples.PAIRS):
            raise gr.Error("There is no such example pair.", print_exception=False)
        return examples.PAIRS[index].paths

    async def opened(name: str | None) -> Any:
        try:
            names = api.names()
        except Refused:
            return gr.skip()
        return choice(names, name if name in names else names[0])

    with gr.Tab("Compare", id="compare", elem_id="compare") as tab:
        lead = block("", elem_id="lead")
        with gr.Row(elem_id="desk"):
            with gr.Column(elem_id="given"):
                model = gr.Dropdown([], label="Model", visible=False, elem_id="compare-model", filterable=False)
                with gr.Row(elem_id="pair"):
                    first, second = picture("First image", "first"), picture("Second image", "second")
                block(DELETED)
                pairs = block(examples.buttons(), elem_id="examples", js_on_load=examples.ON_LOAD)
            panel = block(pair.empty(first=False, second=False), elem_id="result")
    tab.select(opened, model, model, **QUIET)  # others may have been loaded or freed meanwhile
    gr.on(
        [first.change, second.change, model.change],
        compare,
        [first, second, model],
        panel,
        trigger_mode="always_last",
        **QUIET,
    )
    pairs.click(take, None, [first, second], **QUIET)
    return lead, model
