"""Models: a card for each that is loaded, and how to load, replace and free one, and undo a calibration."""

from __future__ import annotations

import gradio as gr

from app.client import Client, Refused
from app.html import QUIET, block, said
from app.show import cards

# As for buttons elsewhere; a button in a form also hands on what is written there.
ON_CLICK = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-act]');
  if (!button) return;
  const field = button.form && button.form.elements.namedItem('name');
  trigger('click', field ? {...button.dataset, name: field.value} : {...button.dataset});
});
element.addEventListener('submit', (event) => event.preventDefault());
"""


def build(api: Client) -> None:
    """The tab, whose cards come anew each time it is opened."""

    async def show(said: str = "") -> str:
        try:
            return cards.cards(await api.models(), said)
        except Refused as refusal:
            return cards.failure(refusal.detail)

    async def click(event: gr.EventData) -> str:
        act, name = said(event, "act"), said(event, "name").strip()
        if not name:
            return await show(cards.note("Write the name of a model: a folder of the server’s model folder.", bad=True))
        try:
            if act == "load":
                return await show(cards.note(f"{name}: {cards.OUTCOMES[await api.load(name)]}"))
            if act == "uncalibrate":
                undone = await api.uncalibrate(name)
                outcome = "its card says again what a score is worth" if undone else "there was nothing to undo"
                return await show(cards.note(f"{name}: {outcome}"))
            if act == "unload":
                await api.unload(name)
                return await show(cards.note(f"{name}: unloaded"))
        except Refused as refusal:
            return await show(cards.note(refusal.detail, bad=True))
        return await show()

    async def opened() -> str:
        return await show()

    with gr.Tab("Models", id="models", elem_id="models") as tab:
        shown = block(cards.waiting(), elem_id="cards", js_on_load=ON_CLICK)
    tab.select(opened, None, shown, **QUIET)
    shown.click(click, None, shown, **QUIET)
