"""The page as text and in a real browser, from a file, as somebody opens it who was sent it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from amcl_serve.evaluation.report.gates import Gate, judge
from amcl_serve.evaluation.report.page import page as drawn
from amcl_serve.evaluation.result import Result
from tests.amcl_serve.evaluation.report.sample import HOSTILE, renamed, sample
from tests.app.server import chromium

GATES = [Gate("auroc", 0.95), Gate("pair_eer", 0.02), Gate("nothing", 1)]


class Elements(HTMLParser):
    """Names of the elements and of all their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


def test_a_strangers_text_stays_text() -> None:
    text = drawn(renamed(sample(), HOSTILE), judge([Gate(HOSTILE, 1)], sample()))
    found, plain = Elements(text), Elements(drawn(sample(), judge(GATES, sample())))
    assert found.tags <= plain.tags
    assert not {name for name, _ in found.attributes if name.startswith("on")}
    assert "script" not in found.tags
    text.encode("utf-8")  # no lone surrogate
    assert not re.search("[\x00\u202e]", text)


def test_what_the_page_refers_to_is_in_it() -> None:
    found = Elements(drawn(sample(), judge(GATES, sample())))
    for name, value in found.attributes:
        if name in ("src", "href", "action", "srcset"):
            assert value.startswith(("data:", "#"))
        assert name != "style"  # the policy forbids it
    ids = [value for name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    named = {value.removeprefix("#") for name, value in found.attributes if name in ("aria-describedby", "href")}
    assert {name for name in named if not name.startswith("data:")} <= set(ids)


def test_the_verdict_is_first_and_says_what_was_compared() -> None:
    text = drawn(sample(), judge(GATES, sample()))
    assert text.index("Failed: 1 of 3 gates passed") < text.index("Provenance") < text.index("Health of the data")
    assert "the upper end of the 95 % interval is 2.97 %; at most 2.00 % is needed" in text
    assert "no figure is called nothing" in text
    assert "Passed: 1 of 1 gate passed" in drawn(sample(), judge(GATES[:1], sample()))
    assert "No gates were set" in drawn(sample())


def test_every_figure_has_value_interval_n_and_explanation() -> None:
    result = sample()
    text = drawn(result)
    for shown in ("0.9921 to 0.9984", "2.35 %", "1.81 to 2.97 %", "10,000"):
        assert shown in text
    for figure in result.figures().values():
        assert figure.protocol in text
    assert "Not measured: fewer than 2 images" in text


def test_a_result_without_anything_is_a_page() -> None:
    assert "None was given" in drawn(Result("labelled", "", {}, [], 0.0, ""))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    result = sample(names=("a" * 200 + ".jpg", HOSTILE), title=f"Photos {HOSTILE}")
    path.write_text(drawn(result, judge(GATES, result)), encoding="utf-8")
    return path


def opened(browser: Browser, file: Path, **context: object) -> tuple[Page, list[str]]:
    """The page, and what it asked for beyond itself or complained about."""
    page = browser.new_context(**context).new_page()  # type: ignore[arg-type]
    said: list[str] = []
    page.on("request", lambda request: request.url.startswith("data:") or said.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(file.as_uri())
    return page, said


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_it_fits_any_window_and_asks_for_nothing(browser: Browser, file: Path, scheme: str, width: int) -> None:
    page, said = opened(browser, file, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(245, 247, 249)") == (scheme == "light")
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert page.locator(".plot > svg").count() == 5
    assert said == [file.as_uri()]
    page.context.close()


def test_explanations_open_on_hover_and_with_the_keyboard(browser: Browser, file: Path) -> None:
    page, _ = opened(browser, file, viewport={"width": 390, "height": 800})
    row = page.locator("#section-4 tbody tr").first
    tip = row.locator("[role=tooltip]")
    expect(tip).to_be_hidden()
    row.get_by_role("button").hover()
    expect(tip).to_contain_text("scores above one of two")
    expect(tip).to_be_visible()
    page.mouse.move(0, 0)
    expect(tip).to_be_hidden()
    page.locator("#section-4 h2").click()
    page.keyboard.press("Tab")
    expect(tip).to_be_visible()
    box = tip.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    page.context.close()


def test_text_is_legible_in_both_schemes(browser: Browser, file: Path) -> None:
    """Contrast of 4.5 at least, WCAG's AA, of the inks on the papers they lie on."""
    for scheme in ("light", "dark"):
        page, _ = opened(browser, file, color_scheme=scheme)
        for ink in ("ink", "soft", "accent", "good", "bad"):
            for paper in ("paper", "ground"):
                assert contrast(colour(page, ink), colour(page, paper)) >= 4.5, (scheme, ink, paper)
        for line in ("positive", "negative", *(f"s{k}" for k in range(6))):
            assert contrast(colour(page, line), colour(page, "paper")) >= 2.6, (scheme, line)
        page.context.close()


def test_paper_is_light_and_explains_without_hover(browser: Browser, file: Path) -> None:
    page, _ = opened(browser, file, color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert contrast(colour(page, "ink"), (255, 255, 255)) > 7
    expect(page.locator("#section-4 [role=tooltip]").first).to_be_visible()
    page.context.close()


Colour = tuple[int, ...]


def colour(page: Page, name: str) -> Colour:
    text = page.evaluate(
        "name => { document.body.style.color = `var(--${name})`; return getComputedStyle(document.body).color }", name
    )
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def contrast(a: Colour, b: Colour) -> float:
    def luminance(rgb: Colour) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in rgb)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)
