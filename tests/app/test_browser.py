"""The page in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from app.examples import ASSETS
from app.show import pair as result
from app.show import parts
from tests.app.server import Watch, chromium, serving
from tests.fakes import make_bundle

expect.set_options(timeout=30_000)  # milliseconds: the machine may be busy

FIRST, SECOND = ASSETS / "cat.jpg", ASSETS / "cup.jpg"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser: Browser, base: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1180, "height": 820})
    page = context.new_page()
    watch = Watch(page)
    page.goto(base)
    expect(page.locator("#result")).to_contain_text(result.EMPTY)
    expect(page.locator(".colophon")).to_contain_text("3 heads, adaptive temperature")
    expect(page.locator("#lead")).to_contain_text("through its projection heads")
    yield page
    context.close()
    assert watch.hosts == {"127.0.0.1"}
    assert watch.complaints == []


def add(page: Page, box: str, file: Path) -> None:
    page.locator(f"#{box} input[type=file]").set_input_files(file)


def test_the_apis_documentation_shows_without_another_host(page: Page, base: str) -> None:
    page.goto(f"{base}/docs")
    expect(page.get_by_text("/similarity", exact=True)).to_be_visible()


def test_two_uploads_give_the_apis_figures(page: Page, base: str) -> None:
    add(page, "first", FIRST)
    expect(page.locator("#result")).to_contain_text("Now add the second image")
    add(page, "second", SECOND)
    verdict = page.locator("#result .verdict-text")
    expect(verdict).to_be_visible()
    with FIRST.open("rb") as a, SECOND.open("rb") as b:
        said = httpx.post(f"{base}/similarity", files={"a": a, "b": b}).json()
    assert json.loads(page.locator("#result pre").text_content() or "") == said
    pair = said["data"][0]
    expect(verdict).to_have_text(result.SAME if pair["same"] else result.DIFFERENT)
    expect(page.locator("#result .verdict strong")).to_have_text(parts.percent(pair["probability"]))
    expect(page.locator("#result .figures dd:not(.hint)")).to_have_text(
        [parts.number(pair[name]) for name in ("score", "feature_similarity", "uncertainty")]
    )
    expect(page.locator("#result .bar")).to_have_count(3)
    expect(page.locator("#result .track .whisker")).to_have_count(3)


def test_text_in_a_jpg_is_refused_in_a_sentence(page: Page, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("this is no image")
    add(page, "first", FIRST)
    add(page, "second", text)
    alert = page.locator("#result [role=alert]")
    expect(alert).to_contain_text("Second image: ")
    assert "Traceback" not in alert.inner_text()
    expect(page.locator("#second img")).to_have_attribute("src", re.compile("^data:image/svg"))
    page.get_by_role("button", name="Remove Image").nth(1).click()
    expect(page.locator("#result")).to_contain_text("Now add the second image")
    add(page, "second", SECOND)
    expect(page.locator("#result .verdict-text")).to_be_visible()


def test_an_example_fills_both_boxes(page: Page) -> None:
    page.locator("#examples button").nth(1).click()
    expect(page.locator("#result .verdict-text")).to_be_visible()
    expect(page.locator("#first img")).to_be_visible()
    expect(page.locator("#second img")).to_be_visible()


def test_a_narrow_window_needs_no_sideways_scrolling(browser: Browser, base: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(base)
    page.locator("#examples button").first.click()
    expect(page.locator("#result .verdict-text")).to_be_visible(timeout=30_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def test_a_constant_uncalibrated_model_shows_the_score_alone(browser: Browser, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "plain", adaptive=False, calibrated=False, name="plain")
    with serving(bundle, tmp_path) as base:
        page = browser.new_page()
        page.goto(base)
        page.locator("#examples button").first.click()
        expect(page.locator("#result .verdict-none")).to_contain_text("not calibrated")
        expect(page.locator("#result .track .whisker")).to_have_count(0)
        page.close()


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_model_without_heads_shows_its_features(browser: Browser, tmp_path: Path, calibrated: bool) -> None:
    bundle = make_bundle(tmp_path / "bare", heads=False, calibrated=calibrated, name="bare")
    with serving(bundle, tmp_path) as base:
        page = browser.new_page(viewport={"width": 390, "height": 800})
        watch = Watch(page)
        page.goto(base)
        expect(page.locator("#lead")).to_contain_text("into 8 features")
        expect(page.locator(".colophon")).to_contain_text("bare · mean-colours · 8 features, no heads · 16 px")
        add(page, "first", FIRST)
        add(page, "second", SECOND)
        expect(page.locator("#result .verdict")).to_be_visible()
        with FIRST.open("rb") as a, SECOND.open("rb") as b:
            said = httpx.post(f"{base}/similarity", files={"a": a, "b": b}).json()
        assert json.loads(page.locator("#result pre").text_content() or "") == said
        pair = said["data"][0]
        expect(page.locator("#result .figures dd:not(.hint)")).to_have_text([parts.number(pair["score"]), "8", "16 px"])
        chance = parts.percent(pair["probability"]) if calibrated else "no probability"
        expect(page.locator("#result .verdict")).to_contain_text(chance)
        expect(page.locator("#result .bar")).to_have_count(1)
        expect(page.locator("#result .track .whisker")).to_have_count(0)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.close()
        assert watch.complaints == []


def test_a_visitor_gives_a_key_and_uses_the_page(browser: Browser, tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("key-to-look-4567\n")
    with serving(tiny_bundle, tmp_path, "--read-only-api-key-file", str(tmp_path / "keys")) as base:
        page = browser.new_page()
        watch = Watch(page)
        page.goto(base)
        page.get_by_label("Key").fill("wrong")
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("alert")).to_contain_text("none of this server's")
        page.get_by_label("Key").fill("key-to-look-4567")
        page.get_by_role("button", name="Continue").click()
        expect(page.locator("#result")).to_contain_text(result.EMPTY)
        add(page, "first", FIRST)
        add(page, "second", SECOND)
        expect(page.locator("#result .verdict-text")).to_be_visible()
        expect(page.locator("#first img")).to_be_visible()
        page.goto(f"{base}/models")
        expect(page.locator("body")).to_contain_text('"tiny"')
        page.close()
        assert watch.hosts == {"127.0.0.1"}
        form, refused = watch.complaints  # Chromium tells of both documents that came with 401, and of nothing else
        assert "401" in form
        assert "401" in refused
