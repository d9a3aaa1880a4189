"""A block of our own HTML, and how handlers are attached: without the page library's queue, which is not served."""

from __future__ import annotations

from typing import Any

import gradio as gr

# For `gr.on` and its kin. A file comes as it was sent, not as a library would open it: the server's decoder does that.
QUIET: dict[str, Any] = {
    "queue": False,
    "show_progress": "hidden",
    "api_visibility": "private",
    "preprocess": False,
}

# A click on a button with data-act is handed to the page's library as an event that carries the button's data.
ON_CLICK = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-act]');
  if (button) trigger('click', {...button.dataset});
});
"""


def block(value: str, **options: Any) -> gr.HTML:
    """HTML that is ours from end to end."""
    return gr.HTML(value, apply_default_css=False, **options)


def said(event: gr.EventData, name: str) -> str:
    """A text that an event carries, "" where it has none; what comes from a browser may be anything."""
    value = getattr(event, "_data", None)
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""
