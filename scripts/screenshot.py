"""Take the pictures of the page that the README shows: docs/images/page.png, light, and page-dark.png.

    python -m scripts.screenshot [BUNDLE]

BUNDLE is a bundle's folder, the default bundle unless given. Needs chromium and the development environment.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser

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


def main() -> None:
    """Serve the bundle and take both pictures."""
    bundle = sys.argv[1] if len(sys.argv) > 1 else "default"
    images = ROOT / "docs" / "images"
    with tempfile.TemporaryDirectory() as folder, serving(bundle, Path(folder)) as base, chromium() as browser:
        take(browser, base, "light", images / "page.png")
        take(browser, base, "dark", images / "page-dark.png")


if __name__ == "__main__":
    main()
