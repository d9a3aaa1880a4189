"""The API, its documentation and the page behind a path of nginx, in a real browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, expect

from app.examples import ASSETS
from benchmarks.processes import free_port
from tests.app.server import chromium, serving

expect.set_options(timeout=30_000)  # milliseconds: the machine may be busy

CONFIG = """
{user}daemon off; pid nginx.pid; error_log error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off; client_max_body_size 64m;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {{
    listen 127.0.0.1:{port};
    location /amcl/ {{
      proxy_pass {target};
      proxy_set_header Host $http_host;
      {header}
    }}
  }}
}}
"""
# How the proxy hands on: taking the path off and saying so, or leaving it where it is to a server that knows it.
WAYS = {
    "taken off": ("{base}/", "proxy_set_header X-Forwarded-Prefix /amcl;", ()),
    "left on": ("{base}", "", ("--root-path", "/amcl")),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(params=WAYS)
def outside(tiny_bundle: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address that visitors know."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("no nginx on PATH")
    target, header, flags = WAYS[request.param]
    with serving(tiny_bundle, tmp_path / "server", *flags) as base:
        port, folder = free_port(), tmp_path / "nginx"
        folder.mkdir()
        user = "" if os.geteuid() else "user root; "  # else its workers may not write here
        config = CONFIG.format(user=user, port=port, target=target.format(base=base.rstrip("/")), header=header)
        (folder / "nginx.conf").write_text(config)
        process = subprocess.Popen([nginx, "-p", folder, "-c", "nginx.conf", "-e", "error.log"])
        try:
            address = f"http://127.0.0.1:{port}/amcl"
            _wait(f"{address}/livez")
            yield address
        finally:
            process.terminate()
            process.wait(20)


def _wait(url: str) -> None:
    for _ in range(200):
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{url} does not answer")


def test_everything_works_behind_a_path(outside: str, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 1180, "height": 820})
    page = context.new_page()
    asked: list[str] = []
    failed: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("response", lambda response: response.status >= 400 and failed.append(response.url))
    page.goto(f"{outside}/")
    expect(page.locator(".colophon")).to_contain_text("3 heads, adaptive temperature")
    for box, name in (("first", "cat.jpg"), ("second", "cup.jpg")):
        page.locator(f"#{box} input[type=file]").set_input_files(ASSETS / name)
    expect(page.locator("#result")).to_contain_text("Head 3")
    page.get_by_role("link", name="API").click()
    expect(page.locator(".swagger-ui")).to_contain_text("/embed")
    page.goto(f"{outside}/")
    page.get_by_role("link", name="Model card").click()
    expect(page.locator("body")).to_contain_text("tiny")
    ours = [urlsplit(url) for url in asked if urlsplit(url).scheme not in ("data", "blob")]
    assert {f"{url.scheme}://{url.netloc}" for url in ours} == {outside.removesuffix("/amcl")}
    assert [url.path for url in ours if not url.path.startswith("/amcl/") and url.path != "/favicon.ico"] == []
    assert failed == []
    context.close()
