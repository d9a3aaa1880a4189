"""Evaluations in a real browser: of archives, of two models side by side, cancelled, refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from amcl_serve.cli import main
from amcl_serve.client import Client
from tests.amcl_serve.jobs.archives import drawing, packed
from tests.app.server import Watch, chromium, serving
from tests.fakes import make_bundle


@pytest.fixture(scope="module")
def other_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "other", name="other", seed=1)


@pytest.fixture(scope="module")
def two(tiny_bundle: Path, other_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a server with two models."""
    with serving(tiny_bundle, tmp_path_factory.mktemp("two"), "--model", str(other_bundle)) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser: Browser, two: str) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1180, "height": 1000})
    watch = Watch(page)
    page.goto(two)
    page.get_by_role("tab", name="Evaluate", exact=True).click()
    expect(page.get_by_label("Model", exact=True).last).to_have_value("tiny")
    yield page
    page.close()
    assert watch.hosts == {"127.0.0.1"}


@pytest.fixture(scope="module")
def split() -> dict[str, bytes]:
    """A bank of eight classes and pictures held out of it, by their names; a third lie in another's folder."""
    shares = (("train", range(8)), ("test", range(8, 12)))
    return {
        f"{share}/class{(each + (number % 3 == 0)) % 8}/{each}-{number}.png": drawing(each, noise=number + 1)
        for share, numbers in shares
        for each in range(8)
        for number in numbers
    }


def figures(result: dict[str, Any]) -> dict[str, Any]:
    found = {figure["name"]: figure["value"] for section in result["sections"] for figure in section["figures"]}
    return {name: value for name, value in found.items() if "knn" in name or "auroc" in name}


@pytest.mark.slow
def test_an_archive_of_a_bank_and_held_out_pictures_has_the_figures_of_the_command(
    page: Page, two: str, split: dict[str, bytes], tiny_bundle: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "split.zip"
    archive.write_bytes(packed(split))
    for name, content in split.items():
        target = tmp_path / "split" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    words = ["evaluate", "--folder", str(tmp_path / "split"), "--labels", "--model", str(tiny_bundle)]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    by_command = figures(json.loads((tmp_path / "out" / "report.json").read_text()))
    assert {"knn", "pair_auroc", "class_pair_auroc"} <= set(by_command)
    assert 0 < by_command["knn"] < 1

    page.get_by_label("Archive").set_input_files(archive)
    expect(page.get_by_label("Labels")).to_be_disabled()
    page.get_by_role("button", name="Evaluate").click()
    report = page.frame_locator("iframe[data-part=report]")
    expect(report.locator("h1")).to_be_visible(timeout=60_000)
    with Client(two) as client:
        over_http = client.evaluate(archive)
        by_http = figures(client.evaluation(over_http["id"])["result"])
        job = next(each for each in client.evaluations() if each["id"] != over_http["id"])
        on_page = figures(client.evaluation(job["id"])["result"])
    assert by_http == pytest.approx(by_command, abs=1e-5)
    assert on_page == by_http
    expect(report.locator("body")).to_contain_text("kNN, k = ")


def test_two_models_side_by_side(page: Page, split: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "pictures.zip").write_bytes(packed(split))
    page.get_by_label("Against").select_option("other")
    page.get_by_label("Archive").set_input_files(tmp_path / "pictures.zip")
    page.get_by_role("button", name="Evaluate").click()
    report = page.frame_locator("iframe[data-part=report]")
    expect(report.locator("body")).to_contain_text("other", timeout=60_000)
    expect(page.locator(".reports li").first).to_contain_text("tiny against other")


def test_an_evaluation_is_cancelled(page: Page, tmp_path: Path) -> None:
    many = {f"{number % 40}/{number}.png": drawing(number % 40, number + 1, 64) for number in range(1200)}
    (tmp_path / "many.zip").write_bytes(packed(many))
    page.get_by_label("Archive").set_input_files(tmp_path / "many.zip")
    page.get_by_role("button", name="Evaluate").click()
    expect(page.locator("[data-part=title]")).to_contain_text("many.zip: running")
    page.locator("[data-part=run]").get_by_role("button", name="Cancel").click()
    expect(page.locator("[data-part=said]")).to_have_text("many.zip: cancelled")
    expect(page.locator("[data-part=run]")).to_be_hidden()


def test_an_upload_is_cancelled_and_leaves_no_evaluation(page: Page, two: str, tmp_path: Path) -> None:
    with Client(two) as client:
        before = len(client.evaluations())
    page.route("**/evaluations", lambda route: None if route.request.method == "POST" else route.fallback())
    (tmp_path / "slow.zip").write_bytes(packed({"a/1.png": drawing(1)}))
    page.get_by_label("Archive").set_input_files(tmp_path / "slow.zip")
    page.get_by_role("button", name="Evaluate").click()
    expect(page.locator("[data-part=title]")).to_contain_text("slow.zip: on its way")
    page.locator("[data-part=run]").get_by_role("button", name="Cancel").click()
    expect(page.locator("[data-part=said]")).to_contain_text("nothing was kept")
    with Client(two) as client:
        assert len(client.evaluations()) == before


def test_a_damaged_archive_and_none_at_all_are_told(page: Page, tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("this is no archive")
    page.get_by_label("Archive").set_input_files(tmp_path / "text.zip")
    page.get_by_role("button", name="Evaluate").click()
    expect(page.locator("[data-part=said][role=alert]")).to_contain_text("text.zip is no zip or tar file")
    page.get_by_role("button", name="Without the archive").click()
    page.get_by_role("button", name="Evaluate").click()
    expect(page.locator("[data-part=said][role=alert]")).to_have_text("Choose a collection or an archive.")


def test_a_model_that_is_freed_and_loaded_is_chosen_no_more_and_again(page: Page, two: str) -> None:
    with Client(two) as client:
        folder = client.model("other")["name"]
    page.get_by_role("tab", name="Models", exact=True).click()
    page.get_by_role("button", name="Unload other").click()
    expect(page.locator("#cards")).to_contain_text("other: unloaded")
    page.get_by_role("tab", name="Compare", exact=True).click()
    expect(page.locator("#compare-model")).to_be_hidden()
    page.get_by_role("tab", name="Models", exact=True).click()
    expect(page.locator("#cards")).not_to_contain_text("unloaded")  # the cards came anew, with the form
    page.get_by_label("Load another model").fill(folder)
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.locator("#cards")).to_contain_text("other: loaded")
    page.get_by_role("tab", name="Compare", exact=True).click()
    expect(page.locator("#compare-model")).to_be_visible()
    page.get_by_role("tab", name="Evaluate", exact=True).click()
    expect(page.locator(".evaluate select[name=model] option")).to_have_text(["tiny", "other"])
