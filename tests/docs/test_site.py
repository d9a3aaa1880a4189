"""The documentation's site: it asks no other host for anything. `make docs` builds it and checks its links."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from scripts.site import ROOT, loaded_from_outside


def test_every_page_has_a_place_in_the_navigation() -> None:
    def files(nav: object) -> list[str]:
        if isinstance(nav, str):
            return [nav]
        parts = nav.values() if isinstance(nav, dict) else nav
        return [file for part in parts for file in files(part)]  # type: ignore[attr-defined]

    listed = files(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    there = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")} - {"vendor/README.md"}
    assert sorted(listed) == sorted(there)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('<script src="https://a.example/x.js"></script>', ["https://a.example/x.js"]),
        ("<img src=//a.example/x.png>", ["//a.example/x.png"]),
        ('<link rel="stylesheet" href="http://a.example/x.css">', ["http://a.example/x.css"]),
        ('<a href="https://a.example/">read</a> <script src="assets/x.js"></script>', []),
        ('<link rel="canonical" href="https://a.example/">', []),
    ],
)
def test_what_a_page_would_load_from_another_host_is_found(tmp_path: Path, text: str, found: list[str]) -> None:
    (tmp_path / "page.html").write_text(text)
    assert list(loaded_from_outside(tmp_path)) == [f"page.html: {address}" for address in found]


def test_what_a_style_would_load_from_another_host_is_found(tmp_path: Path) -> None:
    (tmp_path / "style.css").write_text(
        '@import "https://a.example/y.css"; a { background: url(x.png) url(//a.example/z) }'
    )
    assert sorted(loaded_from_outside(tmp_path)) == ["style.css: //a.example/z", "style.css: https://a.example/y.css"]
