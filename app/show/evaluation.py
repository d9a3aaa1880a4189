"""The board of evaluations before any is there: what can be asked, and where progress and report come."""

from __future__ import annotations

from app.show.parts import term

LABELS = (
    "A field of the payloads that says what a picture shows, such as subject. With it the report has kNN, retrieval "
    "and pairs of one class; without, the model is asked to tell altered views of a picture from other pictures."
)
ARCHIVE = (
    "A zip or tar of pictures, in place of a collection. Folders are classes; train/ and test/ on top are a bank and "
    "the pictures that are looked up in it; a pairs.csv on top says which pictures show the same."
)
AGAINST = "Another loaded model, which is measured on the same pictures and compared with the first."


def board() -> str:
    """All of the tab, as `evaluate.js` expects it."""
    return f"""
<div class="explore evaluate">
  <form class="tools">
    <label>Collection <select name="collection"></select></label>
    <label>{term("or archive", ARCHIVE)} <input name="archive" type="file" aria-label="Archive"
      accept=".zip,.tar,.gz,.tgz,.bz2,.xz"></label>
    <button type="button" class="press" data-part="clear" hidden>Without the archive</button>
    <label>Model <select name="model"></select></label>
    <label>{term("Against", AGAINST)} <select name="against" aria-label="Against"></select></label>
    <label>{term("Labels", LABELS)} <input name="labels" type="text" autocomplete="off" placeholder="none"
      aria-label="Labels"></label>
    <button type="submit" class="press press-main">Evaluate</button>
  </form>
  <p class="note" data-part="said" role="status">How good are these embeddings on your pictures? Choose a collection
    or an archive: the report says it with intervals, and shows the worst cases.</p>
  <div class="panel run" data-part="run" hidden>
    <div class="picked-head"><h2 data-part="title"></h2>
      <button type="button" class="press" data-part="cancel">Cancel</button></div>
    <p data-part="stage"></p>
    <progress data-part="bar" aria-label="Progress of the evaluation"></progress>
  </div>
  <section class="reports" aria-label="Evaluations">
    <h2>Evaluations</h2>
    <ul data-part="jobs"></ul>
  </section>
  <iframe data-part="report" title="Report of the evaluation" sandbox="" hidden></iframe>
</div>"""
