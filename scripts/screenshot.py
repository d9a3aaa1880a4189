"""Take the pictures of the page that the README and docs/page.md show: docs/images/page*.png.

    python -m scripts.screenshot [BUNDLE]

BUNDLE is a bundle's folder, the default bundle unless given. Needs chromium and the development environment.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, Page

from tests.app.server import ROOT, chromium, serving

SIZE = {"width": 1180, "height": 900}


def take(browser: Browser, base: str, scheme: Literal["light", "dark"], target: Path, pair: int = 0) -> None:
    """Write a picture of the page with an example pair compared."""
    page = browser.new_page(viewport=SIZE, color_scheme=scheme)
    page.goto(base)
    page.locator("#examples button").nth(pair).click()
    page.locator("#result .verdict").wait_for()
    page.locator("#first img").wait_for()
    page.locator("#second img").wait_for()
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)  # the boxes fade in
    page.screenshot(path=target, full_page=True)
    page.close()


def take_tabs(browser: Browser, base: str, folder: Path) -> None:
    """Write pictures of Search, Explore and Evaluate at work on the example collection."""
    page = browser.new_page(viewport=SIZE, color_scheme="light")
    page.goto(base)
    page.get_by_role("tab", name="Search").click()
    page.get_by_role("button", name="Make an example collection").first.click()
    page.locator("button:has-text('+')").first.click()
    page.get_by_text("led by what you liked").wait_for()
    _keep(page, folder / "page-search.png")
    page.get_by_role("tab", name="Explore").click()
    page.get_by_text("64 points").wait_for()
    _keep(page, folder / "page-explore.png")
    page.get_by_role("tab", name="Evaluate").click()
    page.get_by_role("button", name="Evaluate").click()
    page.frame_locator("iframe").get_by_text("AUROC of the pair score").first.wait_for(timeout=120_000)
    _keep(page, folder / "page-evaluate.png")
    page.close()


def _keep(page: Page, target: Path) -> None:
    """A picture of what is in the window, with 256 colours: a third of the bytes."""
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(0, 0)
    page.wait_for_timeout(1000)
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.convert("RGB").quantize(256).save(target, optimize=True)


def main() -> None:
    """Serve the bundle and take the pictures."""
    bundle = sys.argv[1] if len(sys.argv) > 1 else "default"
    images = ROOT / "docs" / "images"
    with tempfile.TemporaryDirectory() as folder, serving(bundle, Path(folder)) as base, chromium() as browser:
        take(browser, base, "light", images / "page.png")
        take(browser, base, "dark", images / "page-dark.png")
        take_tabs(browser, base, images)


if __name__ == "__main__":
    main()
