"""`amcl-serve reindex` against a real server."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import numpy as np
import pytest

from amcl_serve.client import Client, Point
from tests.amcl_serve.commands.index.server import Server
from tests.amcl_serve.commands.reindex.conftest import IMAGES, aliased, reindex, stands_for
from tests.images import photo, truncated


def test_there_and_back(server: Server, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    alias = aliased(server, folder, "there", "--thumbnails", "--heads")
    server.call("PUT", "/collections/there-1/index", {"field_name": "path", "field_schema": "keyword"})
    capfd.readouterr()
    assert reindex(server, alias, "--model", "other", "--report", str(tmp_path / "report.json")) == 0
    said = capfd.readouterr()
    new = stands_for(server)[alias]
    assert new.startswith("there.")
    assert stands_for(server)["there.previous"] == "there-1"
    assert f"{new}: {IMAGES} embedded anew, 0 done before, 0 skipped as broken" in said.err
    assert f"there stands for {new} (other) now" in said.out
    detail = server.call("GET", f"/collections/{new}")
    assert (detail["model"]["name"], detail["points_count"]) == ("other", IMAGES)
    assert (detail["thumbnails"], detail["heads"]) == (True, True)
    assert detail["payload_schema"] == {"path": {"data_type": "keyword", "points": IMAGES}}
    with Client(server.url) as client:
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))
        assert sorted(server.paths(new)) == files
        before, after = (client.scroll(name, limit=IMAGES, with_vector=True)["points"] for name in ("there-1", new))
        assert [(p["id"], p["payload"]) for p in before] == [(p["id"], p["payload"]) for p in after]
        expected = client.embed([folder / p["payload"]["path"] for p in after], model="other", normalize=True)
        np.testing.assert_allclose([p["vector"] for p in after], expected, atol=1e-6)
        assert client.thumbnail(alias, after[0]["id"])[8:12] == b"WEBP"
        hits = client.query(alias, image=folder / "0/000.jpg", limit=1, with_payload=True, rerank="pairs")
        assert (hits[0]["payload"]["path"], round(hits[0]["score"], 3)) == ("0/000.jpg", 1.0)

    report = json.loads((tmp_path / "report.json").read_text())
    assert report["old"] == {"collection": "there-1", "model": "tiny", "digest": report["old"]["digest"]}
    assert report["new"] == {"collection": new, "model": "other", "digest": detail["model"]["digest"]}
    assert (report["points"], report["missing"], report["from_thumbnails"]) == (IMAGES, 0, 0)
    drift = report["drift"]
    assert (drift["sample"], drift["seed"], len(drift["most_changed"])) == (IMAGES, 0, 10)
    assert 0 < drift["neighbour_overlap_at_10"] < 1
    assert -1 < drift["rank_correlation"] < 1
    overlaps = [point["overlap"] for point in drift["most_changed"]]
    assert overlaps == sorted(overlaps)
    assert overlaps[0] < drift["neighbour_overlap_at_10"]
    assert drift["most_changed"][0]["path"] in said.out

    assert reindex(server, alias, "--back") == 0
    assert (stands_for(server)[alias], stands_for(server)["there.previous"]) == ("there-1", new)
    assert reindex(server, alias, "--back") == 0
    assert stands_for(server)[alias] == new
    assert reindex(server, alias, "--drop-old") == 0
    assert "removed there-1" in capfd.readouterr().out
    assert "there-1" not in [each["name"] for each in server.call("GET", "/collections")["collections"]]
    assert stands_for(server)[alias] == new
    assert reindex(server, alias, "--back") == 1
    assert "there is no alias whose collection" in capfd.readouterr().err


def test_the_same_model_would_change_nothing(server: Server, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    alias = aliased(server, folder, "same")
    with Client(
        server.url
    ) as client:  # the shadow, as a run leaves it that was killed, of the same model by the digest
        digest = next(each["digest"] for each in client.models() if each["name"] == "other")
    assert reindex(server, alias, "--model", "tiny") == 1
    assert "are embedded by tiny already" in capfd.readouterr().err
    assert reindex(server, alias, "--model", "other") == 0
    assert reindex(server, alias, "--model", "other") == 1
    assert f"same stands for same.{digest.rpartition(':')[2][:12]}" in capfd.readouterr().err


def test_points_that_changed_are_followed(server: Server, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    alias = aliased(server, folder, "followed")
    assert reindex(server, alias, "--model", "other") == 0
    assert reindex(server, alias, "--back") == 0
    (folder / "0/000.jpg").write_bytes(photo(1000))
    (folder / "new.jpg").write_bytes(photo(1001))
    (folder / "1/001.jpg").unlink()
    aliased(server, folder, alias, "--prune")
    with Client(server.url) as client:
        chosen = client.scroll(alias, filter={"must": [{"key": "path", "match": {"value": "2/002.jpg"}}]})["points"]
    ids = [point["id"] for point in chosen]
    server.call("POST", f"/collections/{alias}/points/payload", {"points": ids, "payload": {"kind": "cup"}})
    capfd.readouterr()
    assert reindex(server, alias, "--model", "other") == 0
    assert f": 3 embedded anew, {IMAGES - 3} done before" in capfd.readouterr().err
    with Client(server.url) as client:
        before, after = (
            {p["id"]: p["payload"] for p in client.scroll(name, limit=IMAGES + 5)["points"]}
            for name in ("followed-1", alias)
        )
        assert before == after
        hits = client.query(alias, image=photo(1000), limit=1, with_payload=True)
        assert hits[0]["payload"]["path"] == "0/000.jpg"
        assert hits[0]["score"] == pytest.approx(1)


def test_files_that_are_gone_or_changed_stop_the_swap(
    server: Server, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    alias = aliased(server, folder, "gone")
    with Client(server.url) as client:
        client.upsert(alias, [Point(7, {"name": "sent"}, image=photo(7)), Point(8, vector=[1.0] * 8)])
    (folder / "0/000.jpg").unlink()
    (folder / "1/001.jpg").write_bytes(photo(500))
    (folder / "2/002.jpg").write_bytes(truncated())
    capfd.readouterr()
    report = tmp_path / "report.json"
    assert reindex(server, alias, "--model", "other", "--report", str(report)) == 1
    said = capfd.readouterr().err
    assert f"{IMAGES - 3} embedded anew, 0 done before, 5 skipped as broken" in said
    for reason in ("000.jpg is gone", "001.jpg has changed since it was indexed", "002.jpg has changed since"):
        assert said.count(reason) == 1
    assert said.count("no file is recorded of it") == 2
    assert "5 points have no image any more, so gone stands for gone-1 as before" in said
    assert stands_for(server)[alias] == "gone-1"
    listed = json.loads(report.read_text())
    assert (listed["missing"], listed["points"]) == (5, IMAGES - 3)
    assert {point["path"] for point in listed["missing_points"]} == {"0/000.jpg", "1/001.jpg", "2/002.jpg", "7", "8"}

    assert reindex(server, alias, "--model", "other", "--from-thumbnails") == 1
    assert "and it has no thumbnail" in capfd.readouterr().err
    assert reindex(server, alias, "--model", "other", "--skip-missing") == 0
    assert f"0 embedded anew, {IMAGES - 3} done before, 5 skipped" in capfd.readouterr().err
    assert stands_for(server)[alias] != "gone-1"
    assert server.call("GET", f"/collections/{alias}")["points_count"] == IMAGES - 3


def test_thumbnails_in_place_of_files(
    server: Server, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    alias = aliased(server, folder, "seen", "--thumbnails")
    for path in list(folder.rglob("*.jpg"))[:20]:
        path.unlink()
    assert reindex(server, alias, "--model", "other") == 1
    assert "--from-thumbnails, or --skip-missing" in capfd.readouterr().err
    report = tmp_path / "report.json"
    assert reindex(server, alias, "--model", "other", "--from-thumbnails", "--report", str(report)) == 0
    assert json.loads(report.read_text())["from_thumbnails"] == 20
    assert len(server.paths(alias)) == IMAGES


def test_a_collections_own_name(server: Server, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    aliased(server, folder, "own")
    capfd.readouterr()
    assert reindex(server, "own-1", "--model", "other") == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "`amcl-serve reindex own-1 --alias own-1-current --model other`" in line
    assert reindex(server, "own-1", "--model", "other", "--alias", "own-1") == 1
    assert "a collection has this name" in capfd.readouterr().err
    assert reindex(server, "own-1", "--model", "other", "--alias", "own-1-current") == 0
    assert stands_for(server)["own"] == "own-1"  # which nobody asked to move
    assert stands_for(server)["own-1-current"].startswith("own-1-current.")
    assert reindex(server, "own-1", "--model", "other", "--alias", "own-1-current") == 1
    assert "`amcl-serve reindex own-1-current --model other`" in capfd.readouterr().err


def test_what_cannot_be_reindexed(server: Server, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    alias = aliased(server, folder, "wrong")
    server.call("PUT", "/collections/vectors", {"vectors": {"size": 8, "distance": "Dot"}})
    server.call("POST", "/collections/aliases", {"actions": [
        {"create_alias": {"alias_name": "of-vectors", "collection_name": "vectors"}},
        {"create_alias": {"alias_name": "l" * 120, "collection_name": "wrong-1"}}]})  # fmt: skip
    for words, says in (
        (("nowhere", "--model", "other"), "no alias or collection 'nowhere'"),
        ((alias, "--model", "third"), "no model 'third' is loaded; the server has tiny, other"),
        (("of-vectors", "--model", "other"), "holds no image that a model embedded"),
        (("l" * 120, "--model", "other"), "is too long"),
        ((alias, "--model", "other", "--alias", "x"), "is an alias itself"),
        ((alias, "--back"), "wrong is no alias whose collection"),
    ):
        assert reindex(server, *words) == 1
        (line,) = [line for line in capfd.readouterr().err.splitlines() if "error" in line]
        assert says in line
    assert stands_for(server)[alias] == "wrong-1"
    for flags in ((), ("--model", "other", "--back"), ("--model", "other", "--sample", "1")):
        with pytest.raises(SystemExit) as usage:
            reindex(server, alias, *flags)
        assert usage.value.code == 2


def test_the_old_model_must_be_loaded_too(server: Server, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    alias = aliased(server, folder, "alone")
    assert reindex(server, alias, "--model", "other") == 0
    httpx.post(f"{server.url}/models/other/unload", trust_env=False).raise_for_status()
    try:
        capfd.readouterr()
        assert reindex(server, alias, "--model", "tiny") == 1
        assert "other (sha256:" in (said := capfd.readouterr().err)
        assert "is not loaded: until the swap no search by an image could be answered" in said
    finally:
        httpx.post(f"{server.url}/models/other/load", trust_env=False).raise_for_status()
