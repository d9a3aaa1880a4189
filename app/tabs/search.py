"""Search: a picture, and what a collection holds that is like it."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from typing import Any

import gradio as gr

from app import examples, filters
from app.client import Client, Refused
from app.html import ON_CLICK, QUIET, block, said
from app.latest import Latest
from app.pictures import DELETED, Payload, Uploads, picture
from app.show import hits

LIMIT, MOST = 24, 480  # pictures of the first answer, and of the longest
MAX_TASTES = 32  # points that one search is led by


@dataclass(frozen=True)
class Wish:
    """What a visitor has said beside the picture: points to be near to and away from, and how many to show."""

    more: tuple[int | str, ...] = ()
    less: tuple[int | str, ...] = ()
    limit: int = LIMIT
    collection: str = ""  # whose points they are

    @classmethod
    def read(cls, text: object) -> Wish:
        """From what the browser kept; what is none is an empty one."""
        try:
            found = json.loads(text if isinstance(text, str) else "")
            more, less = (tuple(_ident(str(each)) for each in found[name][:MAX_TASTES]) for name in ("more", "less"))
            return cls(more, less, max(1, min(int(found["limit"]), MOST)), str(found["collection"]))
        except (ValueError, TypeError, KeyError, OverflowError):
            return cls()

    def text(self) -> str:
        """What the browser keeps."""
        return json.dumps(asdict(self))

    def after(self, act: str, point: str) -> Wish:
        """What it is after a click; an act that there is not changes nothing."""
        ident = _ident(point)
        more = tuple(each for each in self.more if each != ident)
        less = tuple(each for each in self.less if each != ident)
        if act == "more":
            return replace(self, more=(*more, ident)[-MAX_TASTES:], less=less, limit=LIMIT)
        if act == "less":
            return replace(self, more=more, less=(*less, ident)[-MAX_TASTES:], limit=LIMIT)
        if act == "forget":
            return replace(self, more=more, less=less, limit=LIMIT)
        if act == "clear":
            return Wish(collection=self.collection)
        return replace(self, limit=min(2 * self.limit, MOST)) if act == "longer" else self


def build(api: Client, uploads: Uploads) -> tuple[gr.Tab, gr.Dropdown]:
    """The tab and its choice of a collection, which is filled when the tab is opened."""

    latest = Latest()

    async def asked_again(
        name: str | None, asked: Payload, where: str | None, rerank: bool, kept: str, request: gr.Request
    ) -> tuple[Any, Any]:
        newest = latest.begin(request)
        found = await search(name, asked, where, rerank, Wish.read(kept))
        return found if newest() else (gr.skip(), gr.skip())

    async def search(name: str | None, asked: Payload, where: str | None, rerank: bool, wish: Wish) -> tuple[str, str]:
        try:
            if not name:
                return hits.nothing(await api.collections()), wish.text()
            wish = wish if wish.collection == name else Wish(collection=name)
            info = await api.collection(name)
            image = await uploads.read("Picture", asked) if asked else None
            pairs = bool(rerank and info["heads"] and image is not None and not (wish.more or wish.less))
            body, bare = _query(wish, image, filters.read(where or ""), rerank=pairs)
            started = perf_counter()
            found = await api.search(name, body, image if bare else None)
            spent = 1000 * (perf_counter() - started)
        except Refused as refusal:
            return hits.failure(refusal.detail), wish.text()
        except ValueError as error:
            return hits.failure(str(error)), wish.text()
        led = hits.Led(picture=image is not None, more=wish.more, less=wish.less, by_pairs=pairs)
        return hits.gallery(name, info, found, led, spent, longer=len(found) == wish.limit < MOST), wish.text()

    async def click(
        name: str | None,
        asked: Payload,
        where: str | None,
        rerank: bool,
        kept: str,
        event: gr.EventData,
        request: gr.Request,
    ) -> tuple[Any, Any, Any]:
        act, newest = said(event, "act"), latest.begin(request)
        if act == "examples":
            try:
                await examples.make_collection(api)
            except Refused as refusal:
                return gr.skip(), hits.failure(refusal.detail), kept
            names = await api.collections()
            found = await search(examples.COLLECTION, asked, where, rerank, Wish.read(kept))
            return gr.Dropdown(choices=names, value=examples.COLLECTION), *found
        found = await search(name, asked, where, rerank, Wish.read(kept).after(act, said(event, "id")))
        return (gr.skip(), *found) if newest() else (gr.skip(), gr.skip(), gr.skip())

    async def opened(name: str | None) -> Any:
        try:
            names = await api.collections()
        except Refused:
            names = []
        return gr.Dropdown(choices=names, value=name if name in names else next(iter(names), None))

    with gr.Tab("Search", id="search", elem_id="search") as tab, gr.Row(elem_classes=["sides"]):
        with gr.Column(elem_classes=["side"]):
            name = gr.Dropdown([], label="Collection", elem_id="search-collection", filterable=False)
            asked = picture("Picture to search by", "asked", height=220)
            block(DELETED)
            where = gr.Textbox(
                label="Filter, then Enter",
                placeholder="subject=cat, brightness>=0.4",
                elem_id="search-filter",
                max_lines=4,
            )
            rerank = gr.Checkbox(
                label="Rerank by pairs",
                info="The heads judge the picture with each of the best, where the collection keeps heads.",
                elem_id="search-rerank",
            )
        wish = gr.Textbox("", visible=False)
        shown = block(hits.waiting(), elem_id="hits", js_on_load=ON_CLICK)
    inputs = [name, asked, where, rerank, wish]
    gr.on(
        [name.change, asked.change, where.submit, rerank.change],
        asked_again,
        inputs,
        [shown, wish],
        trigger_mode="always_last",
        **QUIET,
    )
    shown.click(click, inputs, [name, shown, wish], **QUIET)
    tab.select(opened, name, name, **QUIET).then(asked_again, inputs, [shown, wish], **QUIET)
    return tab, name


def _ident(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else text


def _query(
    wish: Wish, image: bytes | None, where: dict[str, Any] | None, *, rerank: bool
) -> tuple[dict[str, Any], bool]:
    """The body of a query, and whether the image goes beside it, as a file."""
    body: dict[str, Any] = {"limit": wish.limit, "with_payload": True}
    if where is not None:
        body["filter"] = where
    if rerank:
        body["rerank"] = "pairs"
    if wish.more or wish.less:
        positive: list[Any] = list(wish.more)
        if image is not None:
            positive.append({"image": base64.b64encode(image).decode("ascii")})
        return body | {"query": {"recommend": {"positive": positive, "negative": list(wish.less)}}}, False
    if image is None:
        return body | {"query": {"sample": "random"}}, False
    return body, True
