"""Each tab in a real browser: what is clicked, what shows, and what axe says of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from amcl_serve.client import Client, Point
from app.examples import ASSETS, COLLECTION, views
from tests.app.server import Watch, chromium

expect.set_options(timeout=30_000)  # milliseconds: the machine may be busy

TABS = ("Compare", "Search", "Explore", "Evaluate", "Models")
MANY = 100_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser: Browser, base: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1180, "height": 1000})
    page = context.new_page()
    watch = Watch(page)
    page.goto(base)
    expect(page.locator(".colophon")).to_contain_text("3 heads")
    yield page
    context.close()
    assert watch.hosts == {"127.0.0.1"}
    assert watch.complaints == []


@pytest.fixture(scope="module")
def filled(base: str) -> str:
    """The server with a collection of example pictures."""
    with Client(base) as client:
        if COLLECTION not in client.collections():
            client.create_collection(COLLECTION, thumbnails=True, heads=True)
            client.upsert(COLLECTION, views())
    return base


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def test_a_search_from_an_empty_server_to_more_like_this(page: Page, base: str, tmp_path: Path) -> None:
    open_tab(page, "Search")
    hits, tiles = page.locator("#hits"), page.locator("#hits .tile")
    hits.get_by_role("button", name="Make an example collection").click()
    expect(hits).to_contain_text("at random")
    page.locator("#asked input[type=file]").set_input_files(ASSETS / "cup-grey.jpg")
    expect(hits).to_contain_text("nearest to your picture")
    with Client(base) as client:
        best = client.query(COLLECTION, image=ASSETS / "cup-grey.jpg", limit=24)
    expect(tiles).to_have_count(24)
    expect(tiles.first.locator("b")).to_have_text(f"{best[0]['score']:.3f}")
    tiles.first.locator("b").hover()
    expect(page.get_by_role("tooltip")).to_contain_text("Cosine")
    assert page.locator("#hits img").first.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    page.get_by_label("Rerank by pairs").check()
    expect(hits).to_contain_text("reranked by pairs")
    field = page.get_by_label("Filter, then Enter")
    field.fill("subject=rocket")
    field.press("Enter")
    expect(tiles).to_have_count(16)
    tiles.first.get_by_role("button", name=re.compile("^More like")).click()
    expect(hits).to_contain_text("led by what you liked")
    hits.get_by_role("button", name="Clear").click()
    expect(hits).to_contain_text("reranked by pairs")
    field.fill("subject rocket")
    field.press("Enter")
    expect(hits.get_by_role("alert")).to_contain_text("has no comparison")
    field.fill("")
    field.press("Enter")
    text = tmp_path / "text.jpg"
    text.write_text("this is no image")
    page.get_by_role("button", name="Remove Image").click()
    page.locator("#asked input[type=file]").set_input_files(text)
    expect(hits.get_by_role("alert")).to_contain_text("Picture: ")


def test_a_pasted_picture_goes_into_the_first_empty_box(page: Page) -> None:
    page.evaluate(
        """async () => {
          const canvas = Object.assign(document.createElement('canvas'), {width: 20, height: 20});
          canvas.getContext('2d').fillRect(0, 0, 20, 20);
          const blob = await new Promise((done) => canvas.toBlob(done));
          const data = new DataTransfer();
          data.items.add(new File([blob], 'pasted.png', {type: 'image/png'}));
          document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true}));
        }"""
    )
    expect(page.locator("#first img")).to_be_visible()
    expect(page.locator("#result")).to_contain_text("Now add the second image")


def test_a_map_is_pointed_at_lassoed_coloured_and_cleaned(page: Page, filled: str) -> None:
    open_tab(page, "Explore")
    expect(page.locator(".explore")).to_have_attribute("data-state", "ready")
    page.get_by_label("Colour by").select_option("subject")
    expect(page.locator(".legend li")).to_have_text(["cat · 16", "cup · 16", "rocket · 16", "stars · 16"])
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as Parquet").click()
    assert download.value.suggested_filename == f"{COLLECTION}.parquet"
    table = pq.read_table(download.value.path())
    assert table.num_rows == 64
    assert table["subject"].value_counts().to_pylist()[0]["counts"] == 16
    page.get_by_role("button", name="Lasso").click()
    lasso(page)
    expect(page.locator(".picked h2")).to_have_text("64 chosen")
    expect(page.locator(".picked .tile")).to_have_count(64)
    page.get_by_role("button", name="Find").click()
    expect(page.locator("[data-part=groups-said]")).to_contain_text("points could go")
    assert page.locator("[data-part=groups] ol").count() >= 4  # each subject is in there twice


@pytest.fixture
def twins(base: str) -> Iterator[str]:
    """A collection with three copies of one picture, and another picture."""
    name, picture = "twins", (ASSETS / "cat.jpg").read_bytes()
    with Client(base) as client:
        client.create_collection(name, thumbnails=True)
        names = ("cat copy.jpg", "cat.jpg", "cat copy 2.jpg")
        client.upsert(name, [Point(id=i, payload={"path": path}, image=picture) for i, path in enumerate(names, 1)])
        client.upsert(name, [Point(id=9, payload={"path": "cup.jpg"}, image=(ASSETS / "cup.jpg").read_bytes())])
        yield name
        client.delete_collection(name)


def test_a_group_of_duplicates_is_resolved_after_a_question(page: Page, filled: str, twins: str) -> None:
    open_tab(page, "Explore")
    page.locator("[data-part=collection]").select_option(twins)
    expect(page.locator(".explore").first).to_have_attribute("data-state", "ready")
    page.locator("[data-part=cut]").fill("0.9999")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_label("Keep 2", exact=True)).to_be_checked()  # of the shortest name
    expect(page.get_by_label("Keep 1", exact=True)).not_to_be_checked()
    resolve = page.get_by_role("button", name="Delete the other 2", exact=True)
    page.get_by_label("Keep 2", exact=True).uncheck()
    expect(page.get_by_role("button", name="Keep at least one")).to_be_disabled()
    page.get_by_label("Keep 2", exact=True).check()
    resolve.click()
    asked = page.get_by_role("dialog")
    expect(asked).to_contain_text("Delete 2 points?")
    expect(asked).to_contain_text("cannot be undone")
    asked.get_by_role("button", name="Keep all").click()
    with Client(base_of(page)) as client:
        assert client.collection(twins)["points_count"] == 4
        resolve.click()
        asked.get_by_role("button", name="Delete", exact=True).click()
        expect(page.locator("[data-part=groups-said]")).to_have_text(f"2 deleted from {twins}.")
        assert [point["id"] for point in client.scroll(twins)["points"]] == [2, 9]
    expect(page.locator("[data-part=count]")).to_have_text("2 points")


def base_of(page: Page) -> str:
    return page.url.split("/?")[0].rstrip("/")


def lasso(page: Page) -> None:
    """Draw a loop around all of the map."""
    page.locator(".map").evaluate("map => map.scrollIntoView({block: 'center'})")
    box = page.locator(".map canvas").bounding_box()
    assert box is not None
    left, top = box["x"] + 6, box["y"] + 6  # within its rounded corners
    right, bottom = left + box["width"] - 12, top + box["height"] - 12
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom), (left, top + 9)):
        page.mouse.move(x, y, steps=6)
        page.wait_for_timeout(30)
    page.mouse.up()


def test_an_evaluation_runs_to_its_report(page: Page, filled: str) -> None:
    open_tab(page, "Evaluate")
    expect(page.get_by_label("Collection").last).to_have_value(COLLECTION)
    page.get_by_label("Labels").fill("subject")
    page.get_by_role("button", name="Evaluate").click()
    frame = page.frame_locator("iframe[data-part=report]")
    expect(frame.locator("h1")).to_be_visible(timeout=60_000)
    expect(page.locator(".reports li").first).to_contain_text("done")


def test_the_models_card_and_a_model_that_is_not_there(page: Page) -> None:
    open_tab(page, "Models")
    expect(page.locator(".card h2")).to_have_text(["tiny"])
    page.get_by_label("Load another model").fill("nowhere")
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.locator("#cards [role=alert]")).to_be_visible()
    expect(page.locator(".card h2")).to_have_text(["tiny"])


@pytest.mark.parametrize(("scheme", "width"), [("light", 1180), ("dark", 390)])
def test_axe_finds_nothing_serious_and_nothing_scrolls_sideways(
    browser: Browser, filled: str, scheme: str, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(filled)
    page.locator("#examples button").first.click()
    expect(page.locator("#result .verdict-text")).to_be_visible()
    for tab, shows in zip(
        TABS, ("#result", "#hits .headline", ".explore[data-state=ready]", ".reports li", ".card"), strict=True
    ):
        open_tab(page, tab)
        expect(page.locator(shows).first).to_be_visible()
        found = Axe().run(page).response["violations"]
        serious = [
            (each["id"], [node["html"][:200] for node in each["nodes"]])
            for each in found
            if each["impact"] in ("serious", "critical")
        ]
        assert serious == [], tab
        assert page.evaluate("document.documentElement.scrollWidth") <= width, tab
    context.close()


@pytest.mark.slow
def test_a_hundred_thousand_points_move_within_two_seconds_of_their_arrival(page: Page, filled: str) -> None:
    rng = np.random.default_rng(0)
    head = {"token": "t", "points": MANY, "shown": MANY, "explained": 0.5, "clusters": 10, "fields": []}
    head |= {"thumbnails": False, "name": COLLECTION}
    text = orjson.dumps(head)
    text += b" " * (-len(text) % 4)
    xy = np.clip(rng.normal(0, 0.3, (2, MANY)), -0.9, 0.9).astype("<f4")
    ids = "\n".join(map(str, range(MANY))).encode()
    body = len(text).to_bytes(4, "little") + text + xy.tobytes() + rng.integers(0, 10, MANY, np.uint8).tobytes() + ids

    def answer(route: Route) -> None:
        route.fulfill(body=body, content_type="application/octet-stream")

    page.route("**/page/map/*", answer)
    open_tab(page, "Explore")
    expect(page.locator(".explore")).to_have_attribute("data-state", "ready")
    assert int(page.locator(".explore").get_attribute("data-ms") or "") < 2000
    page.get_by_role("button", name="Lasso").click()
    lasso(page)
    expect(page.locator(".picked h2")).to_have_text("100,000 chosen")
