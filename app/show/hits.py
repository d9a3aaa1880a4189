"""What a search found: a gallery of pictures with scores, and what to do with each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

from app.show.parts import button, empty, number, term
from app.show.parts import failure as failed

NAMES = (
    "name",
    "file",
    "filename",
    "path",
    "title",
    "subject",
    "label",
)  # of a payload's members, what names a picture
MAX_TIP = 300
MAKE = "Make an example collection"
SCORES = {
    "Cosine": "Cosine of this picture’s features with what was searched by: 1 is the same direction, 0 nothing alike.",
    "Dot": "Inner product of this picture’s vector with what was searched by: higher is nearer.",
    "Euclid": "Distance of this picture’s vector from what was searched by: lower is nearer.",
}
PAIR = "Score of the pair, head by head, as Compare gives it; before that the cosine of the features was {}."


@dataclass(frozen=True)
class Led:
    """What led a search: a picture, points to be near to and away from, the pairs' scores."""

    picture: bool
    more: Sequence[int | str]
    less: Sequence[int | str]
    by_pairs: bool


def waiting() -> str:
    """Before the first answer."""
    tiles = '<div class="tile skeleton"></div>' * 12
    return f'<div class="gallery" role="status" aria-label="Loading">{tiles}</div>'


def nothing(collections: Sequence[str]) -> str:
    """Without a collection that is chosen."""
    if collections:
        return empty("Choose a collection", "Its pictures appear here, and a picture of yours finds what is like it.")
    return empty(
        "No collection yet",
        "Make one of 64 example pictures with one click, or index a folder of your own: "
        "amcl-serve index PHOTOS --collection photos",
        button(MAKE, "examples", kind="press-main"),
    )


def failure(detail: str) -> str:
    """A search that was refused."""
    return failed("Not searched", detail, "Change what it is due to and the answer follows.")


def gallery(
    name: str, info: Mapping[str, Any], found: Sequence[Mapping[str, Any]], led: Led, spent: float, *, longer: bool
) -> str:
    """The pictures found in a collection, best first; `spent` is the milliseconds that it took."""
    head = _headline(info, found, led, spent)
    if not found:
        why = "The filter lets nothing through." if info["points_count"] else "Nothing was written into it yet."
        return f"{head}{empty('No picture here', why)}"
    scored = led.picture or bool(led.more or led.less)
    distance = info["config"]["params"]["vectors"]["distance"]
    tiles = "".join(_tile(name, info, hit, led, distance, scored=scored) for hit in found)
    more = f'<p class="after">{button("Show more", "longer")}</p>' if longer else ""
    return f'{head}<ol class="gallery">{tiles}</ol>{more}'


def caption(point: Mapping[str, Any]) -> str:
    """What names a picture: a member of its payload that says so, else its id."""
    payload = point.get("payload") or {}
    said = next((payload[key] for key in NAMES if isinstance(payload.get(key), str) and payload[key]), None)
    return str(said).replace("\\", "/").rstrip("/").rpartition("/")[2] if said else f"{point['id']}"


def _headline(info: Mapping[str, Any], found: Sequence[Any], led: Led, spent: float) -> str:
    points = info["points_count"]
    if led.more or led.less:
        what = "led by what you liked"
    elif led.picture:
        what = "reranked by pairs" if led.by_pairs else "nearest to your picture"
    else:
        what = "at random; add a picture to search"
    time = term(f"{spent:.0f} ms", "From question to answer: decoding, the network and the search.")
    chips = _chips(led.more, "+", "More like") + _chips(led.less, "−", "Less like")
    if chips:
        chips = f'<p class="chips">{chips}{button("Clear", "clear", kind="press-plain")}</p>'
    total = term(f"{points:,}", "Points that the collection holds.")
    said = f'<p role="status"><strong>{len(found)}</strong> of {total} · {what} · {time}</p>'
    return f'<div class="headline">{said}{chips}</div>'


def _chips(points: Iterable[int | str], sign: str, words: str) -> str:
    return "".join(
        button(
            f"{sign} {escape(str(point)[:8])} ×", "forget", kind="chip", label=f"{words} {point}: remove", id=str(point)
        )
        for point in points
    )


def _tile(name: str, info: Mapping[str, Any], hit: Mapping[str, Any], led: Led, distance: str, *, scored: bool) -> str:
    point, words = str(hit["id"]), caption(hit)
    payload = json.dumps(hit.get("payload") or {}, ensure_ascii=False)
    tip = f"id {point} · {payload if len(payload) <= MAX_TIP else payload[:MAX_TIP] + '…'}"
    if info["thumbnails"]:
        source = f"./collections/{quote(name, safe='')}/points/{quote(point, safe='')}/thumbnail"
        picture = f'<img src="{escape(source)}" alt="{escape(words)}" loading="lazy" width="128" height="128">'
    else:
        picture = '<span class="no-picture">no thumbnail kept</span>'
    score = ""
    if scored:
        before = hit.get("vector_score")
        score = term(number(hit["score"]), SCORES[distance] if before is None else PAIR.format(number(before)), tag="b")
    likes = [
        button("+", "more", label=f"More like {words}", id=point, tip="More like this"),
        button("−", "less", label=f"Less like {words}", id=point, tip="Less like this"),
    ]
    state = " liked" if hit["id"] in led.more else " disliked" if hit["id"] in led.less else ""
    return (
        f'<li class="tile{state}">{picture}<div>{term(escape(words), tip, kind="words")}{score}'
        f'<span class="likes">{"".join(likes)}</span></div></li>'
    )
