"""The board of the map before any point is on it: its controls, and the states that it can be in."""

from __future__ import annotations

from html import escape

from app.show.hits import MAKE
from app.show.parts import FRAMES, button, term

PLANE = (
    "The plane of the two directions in which the vectors vary most (PCA). Points that are near each other here may "
    "lie apart in the directions that it leaves out."
)
EXPLAINED = "The share of all variance of the vectors that lies in this plane; the rest cannot be seen here."
CUT = (
    "Two pictures are near duplicates from this cosine of their vectors on. 0.95 is a place to begin; nearer to 1 "
    "leaves only what is almost the same file."
)


def board() -> str:
    """All of the tab, as `explore.js` expects it."""
    return f"""
<div class="explore" data-state="loading">
  <div class="tools">
    <label>Collection <select data-part="collection"></select></label>
    <label>Colour by <select data-part="colour"></select></label>
    <span class="modes" role="group" aria-label="What dragging does">
      <button type="button" class="press" data-mode="panZoom" aria-pressed="true">Move</button>
      <button type="button" class="press" data-mode="lasso" aria-pressed="false">Lasso</button>
    </span>
    <button type="button" class="press" data-part="whole">Whole map</button>
    <button type="button" class="press" data-part="save" aria-describedby="save-told">Save as Parquet</button>
    <span class="note" id="save-told" data-part="saved" role="status"></span>
  </div>
  <div class="map-and-picked">
    <div class="map">
      <canvas data-part="canvas" aria-label="Map of the collection: each point is a picture"
        role="img" tabindex="0"></canvas>
      <div class="hover" data-part="hover" hidden></div>
      <div class="state" data-part="state" role="status">{FRAMES}<h2>Reading the collection</h2><p></p></div>
    </div>
    <section class="picked panel" aria-label="Chosen points">
      <div class="picked-head"><h2 data-part="picked-title">Nothing chosen</h2></div>
      <p data-part="picked-hint">Draw a loop around points with the lasso, or hold Shift and drag. Their pictures appear
      here.</p>
      <ol class="gallery small" data-part="picked"></ol>
    </section>
  </div>
  <ul class="legend" data-part="legend" aria-label="Colours"></ul>
  <p class="under"><span data-part="count"></span> · {term("a plane by PCA", PLANE)} ·
    {term('<span data-part="explained"></span>', EXPLAINED)}</p>
  <section class="duplicates panel" aria-label="Near duplicates">
    <div class="picked-head"><h2>Near duplicates</h2>
      <label>{term("Cosine from", CUT)}
        <input data-part="cut" type="number" min="0.5" max="1" step="0.01" value="0.95"></label>
      <button type="button" class="press" data-part="find">Find</button></div>
    <p data-part="groups-said" role="status">Pictures that are almost the same, in groups. Every pair is compared.</p>
    <div data-part="groups"></div>
    <dialog data-part="sure" aria-labelledby="sure-title"><form method="dialog">
      <h2 id="sure-title"></h2><p></p>
      <button class="press" value="" autofocus>Keep all</button>
      <button class="press press-main" value="delete">Delete</button>
    </form></dialog>
  </section>
  <template data-part="none">{button(MAKE, "examples", kind="press-main")}</template>
</div>"""


def told(text: str, *, bad: bool = False, select: str = "") -> str:
    """What the server said to a click, and a collection to show now."""
    if select:
        return f'<span data-select="{escape(select)}"></span>'
    return f'<p class="note{" note-bad" if bad else ""}" role="alert">{escape(text)}</p>' if text else ""
