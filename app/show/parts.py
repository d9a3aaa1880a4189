"""What all tabs are made of: figures that explain themselves, empty states, failures."""

from __future__ import annotations

from html import escape

FRAMES = '<div class="frames" aria-hidden="true"><i></i><i></i></div>'


def term(shown: str, why: str, *, tag: str = "span", kind: str = "") -> str:
    """`shown` (HTML), which says `why` when it is pointed at or has the keyboard's focus."""
    classes = f"term {kind}".strip()
    return f'<{tag} class="{classes}" tabindex="0" data-tip="{escape(why)}">{shown}</{tag}>'


def empty(title: str, hint: str, more: str = "") -> str:
    """A panel that has nothing to show yet: what it waits for, and `more` HTML, such as a button."""
    words = f"<h2>{escape(title)}</h2><p>{escape(hint)}</p>"
    return f'<div class="panel panel-empty" role="status">{FRAMES}{words}{more}</div>'


def failure(what: str, detail: str, then: str) -> str:
    """A panel for what could not be done: the reason in a sentence, and what to do."""
    return (
        f'<div class="panel panel-error" role="alert"><p class="eyebrow">{escape(what)}</p>'
        f"<h2>{escape(detail)}</h2><p>{escape(then)}</p></div>"
    )


def button(text: str, act: str, *, kind: str = "", label: str = "", **data: str) -> str:
    """A button whose click is handed on with its data."""
    more = "".join(f' data-{key}="{escape(value)}"' for key, value in data.items())
    named = f' aria-label="{escape(label)}"' if label else ""
    return (
        f'<button type="button" class="{f"press {kind}".strip()}" data-act="{escape(act)}"{more}{named}>{text}</button>'
    )


def percent(probability: float) -> str:
    """A probability as a percentage with one decimal; the ends are never rounded to certainty."""
    if probability > 0.9995:
        return "over 99.9 %"
    if probability < 0.0005:
        return "under 0.1 %"
    return f"{100 * probability:.1f} %"


def number(value: float) -> str:
    """Three decimals with a true minus sign."""
    text = f"{value:.3f}"
    return "0.000" if text == "-0.000" else text.replace("-", "−")
