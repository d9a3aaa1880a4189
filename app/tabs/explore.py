"""Explore: a collection as a map. What moves is in `app/assets/explore.js`; here is what it finds on the page."""

from __future__ import annotations

import gradio as gr

from app import examples
from app.client import Client, Refused
from app.html import QUIET, block, said
from app.show import chart

# The script comes when the tab is opened for the first time; both folders and proxies may stand before its address.
ON_LOAD = """
import(new URL('./page/scripts/explore.js', document.baseURI).href)
  .then((script) => script.start(element, (data) => trigger('click', data)));
"""


def build(api: Client) -> None:
    """The tab."""

    async def click(event: gr.EventData) -> str:
        if said(event, "act") != "examples":
            return ""
        try:
            await examples.make_collection(api)
        except Refused as refusal:
            return chart.told(refusal.detail, bad=True)
        return chart.told("", select=examples.COLLECTION)

    with gr.Tab("Explore", id="explore", elem_id="explore"):
        told = block("", elem_id="told")
        board = block(chart.board(), elem_id="board", js_on_load=ON_LOAD)
    board.click(click, None, told, **QUIET)
