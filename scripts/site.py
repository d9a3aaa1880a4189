"""`make docs`: the documentation as a site in site/, which opens from the disk and asks no other host for anything.

Zensical builds the pages and checks their links; this adds the API's reference, which is Swagger UI on the interface's
description, and puts a file of ours where the theme would fetch one.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import fastapi_offline

import amcl_serve

ROOT = Path(__file__).parent.parent
SITE = ROOT / "site"
OPENAPI = ROOT / "tests/amcl_serve/http/openapi.json"
SHIM = "https://unpkg.com/iframe-worker/shim"  # lets the search work on pages that are opened from the disk
ASSETS = ("swagger-ui-bundle.js", "swagger-ui.css")

REFERENCE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>amcl-serve: HTTP API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="assets/swagger-ui.css">
</head>
<body>
<div id="swagger"></div>
<script src="assets/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({spec: SPEC, dom_id: "#swagger", supportedSubmitMethods: [], validatorUrl: null, docExpansion: "list"});
</script>
</body>
</html>
"""

_LOADED = (  # what a browser fetches by itself, not what a reader may follow
    re.compile(
        r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc(?:set)?=[\"']?((?:https?:)?//[^\"' >]+)", re.I
    ),
    re.compile(
        r"<link\b(?![^>]*\brel=[\"']?(?:canonical|alternate|next|prev)\b)[^>]*\bhref=[\"']?((?:https?:)?//[^\"' >]+)",
        re.I,
    ),
    re.compile(r"@import\s*(?:url\()?[\"']?((?:https?:)?//[^\"')\s]+)"),
    re.compile(r"\burl\([\"']?((?:https?:)?//[^\"')\s]+)"),
)


def main() -> int:
    """Build; the exit code is 1 where a link is broken or a page would load something from another host."""
    shutil.rmtree(SITE, ignore_errors=True)
    built = subprocess.run(  # noqa: S603
        [Path(sys.executable).with_name("zensical"), "build", "--strict"], cwd=ROOT, capture_output=True, text=True
    )
    if built.returncode:
        print(built.stdout, built.stderr.partition("Traceback")[0], sep="\n", file=sys.stderr)
        return 1
    for name in ASSETS:
        (SITE / "assets" / name).write_bytes((files(fastapi_offline) / "static" / name).read_bytes())
    described = json.loads(OPENAPI.read_text())
    described["info"]["version"] = amcl_serve.__version__
    (SITE / "openapi.html").write_text(REFERENCE.replace("SPEC", json.dumps(described).replace("</", "<\\/")))
    for page in SITE.rglob("*.html"):
        up = "../" * (len(page.relative_to(SITE).parts) - 1)
        page.write_text(page.read_text().replace(SHIM, f"{up}vendor/iframe-worker.js"))
    outside = list(loaded_from_outside(SITE))
    for line in outside:
        print(f"loads from another host: {line}", file=sys.stderr)
    if not outside:
        print(f"{SITE / 'index.html'}")
    return 1 if outside else 0


def loaded_from_outside(site: Path) -> Iterator[str]:
    """`FILE: ADDRESS` of what the pages and styles of a site would fetch from another host."""
    for file in sorted([*site.rglob("*.html"), *site.rglob("*.css")]):
        text = file.read_text()
        if file.name == "openapi.html":
            text = text.partition("<script>")[0]  # the description's own texts are data
        for pattern in _LOADED:
            for address in pattern.findall(text):
                yield f"{file.relative_to(site)}: {address}"


if __name__ == "__main__":
    sys.exit(main())
