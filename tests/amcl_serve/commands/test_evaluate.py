"""`amcl-serve evaluate` on a tiny bundle and generated images, in process and behind a server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import httpx
import numpy as np
import pytest

from amcl_serve import cli
from amcl_serve.client import Client, Limits, Point
from amcl_serve.commands.evaluating.collection import CollectionImages
from amcl_serve.commands.evaluating.in_process import InProcess
from amcl_serve.commands.evaluating.over_http import TOGETHER, OverHttp
from amcl_serve.commands.evaluating.precisions import served_equals_offline
from amcl_serve.errors import AmclError, ModelNotFound, StartupError, UnreadableFile
from amcl_serve.evaluation.datasets import open_folder
from amcl_serve.evaluation.embedder import Embedded, Embedder
from amcl_serve.hosting.opening import load_model
from amcl_serve.model.bundle import Bundle
from amcl_serve.settings import Settings
from benchmarks.processes import serving
from tests.fakes import make_bundle
from tests.images import photo, truncated

CLASSES, EACH = 3, 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of pictures that look alike within each, and a file that is none."""
    root = tmp_path_factory.mktemp("evaluate") / "photos"
    for kind in range(CLASSES):
        for number in range(EACH):
            path = root / f"class {kind}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(photo(kind, (40 + number, 32), "PNG"))
    (root / "class 0" / "broken.png").write_bytes(truncated("PNG"))
    return root


@pytest.fixture(scope="module")
def url(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tiny_bundle, tmp_path_factory.mktemp("served"), "--session-threads", "1") as server:
        yield server.url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, limits=Limits(max_items=2 * TOGETHER)) as found:
        yield found


def local(bundle: Path) -> InProcess:
    settings = Settings(model=str(bundle), session_threads=1, decode_threads=1)
    return InProcess(load_model(settings), settings)


def test_a_folder_gives_three_files_and_a_summary(
    tiny_bundle: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "report"
    argv = ["evaluate", "--folder", str(folder), "--model", str(tiny_bundle), "--out", str(out), "--seed", "3"]
    assert cli.main([*argv, "--fail-under", "auroc=0.1"]) == 0
    said = capsys.readouterr().out
    assert "passed  auroc=0.1" in said
    assert f"report: {out / 'report.html'}" in said
    data = json.loads((out / "report.json").read_bytes())
    figures = {figure["name"]: figure for section in data["sections"] for figure in section["figures"]}
    assert figures["pair_auroc"]["value"] > 0.5
    assert data["provenance"]["seed"] == 3
    assert data["provenance"]["command"].startswith(f"amcl-serve evaluate --folder {folder} ")
    assert "Passed: 1 of 1 gate passed" in (out / "report.html").read_text()
    assert "broken.png" in (out / "report.html").read_text()
    assert ElementTree.parse(out / "junit.xml").getroot().get("failures") == "0"


def test_a_gate_that_is_not_reached_is_1_and_the_report_is_there(
    tiny_bundle: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["evaluate", "--folder", str(folder), "--model", str(tiny_bundle), "--out", str(tmp_path)]
    assert cli.main([*argv, "--fail-under", "auroc=0.01", "--fail-under", "aurocc=0.9"]) == 1
    said = capsys.readouterr().out
    assert "FAILED  aurocc=0.9: no figure is called aurocc (did you mean auroc?); there are " in said
    assert ElementTree.parse(tmp_path / "junit.xml").getroot().get("errors") == "1"


def test_labels_are_the_folders(
    tiny_bundle: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["evaluate", "--folder", str(folder), "--labels", "--model", str(tiny_bundle), "--out", str(tmp_path)]
    assert cli.main([*argv, "--fail-under", "knn=0.5"]) == 0
    assert json.loads((tmp_path / "report.json").read_bytes())["protocol"] == "labelled"
    assert cli.main(["evaluate", "--folder", str(folder / "class 1"), "--labels", "--model", str(tiny_bundle)]) == 1
    assert "are not all in sub-folders" in capsys.readouterr().err


def test_pairs_of_a_file(tiny_bundle: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder.parent / "pairs.csv"
    lines = ["a,b,same"]
    for kind in range(CLASSES):
        for number in range(EACH - 1):
            lines.append(f"photos/class {kind}/{number}.png,photos/class {kind}/{number + 1}.png,1")
            lines.append(f"photos/class {kind}/{number}.png,photos/class {(kind + 1) % CLASSES}/{number}.png,0")
    file.write_text("\n".join(lines) + "\n")
    assert cli.main(["evaluate", "--pairs", str(file), "--model", str(tiny_bundle), "--fail-under", "auroc=0.9"]) == 0
    assert "passed  auroc=0.9" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "one of the arguments --folder --collection --pairs is required"),
        (["--folder", "a", "--pairs", "b"], "not allowed with"),
        (["--folder", "a", "--fail-under", "auroc"], "NAME=BOUND"),
        (["--folder", "a", "--fail-under", "auroc=high"], "NAME=BOUND"),
        (["--folder", "a", "--labels", "species"], "takes no FIELD"),
        (["--collection", "a", "--labels"], "takes the FIELD"),
        (["--pairs", "a", "--labels"], "has its own"),
        (["--folder", "a", "--seed", "-1"], "a whole number"),
        (["--folder", "a", "--model", "x", "--model", "y"], "--against"),
        (["--folder", "a", "--url", "http://127.0.0.1:9", "--precision", "fp32"], "--precision: of a model in this"),
    ],
)
def test_wrong_usage_is_2(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["evaluate", *argv])
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_what_cannot_be_evaluated_is_said_in_a_line(
    tiny_bundle: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("in the way")
    model = ["--model", str(tiny_bundle)]
    for argv, said in (
        (["--folder", str(tmp_path / "none"), *model], "is no folder"),
        (["--folder", str(tmp_path / "empty"), *model], "no images"),
        (["--folder", str(folder), "--out", str(tmp_path / "file" / "out"), *model], "cannot be made"),
        (["--folder", str(folder), "--model", "nowhere"], "no bundle 'nowhere'"),
        (["--collection", "photos", "--url", "http://127.0.0.1:9"], "127.0.0.1:9"),
    ):
        assert cli.main(["evaluate", *argv]) == 1
        err = capsys.readouterr().err
        assert said in err
        assert "Traceback" not in err


def test_an_interrupt_writes_nothing_and_is_130(tiny_bundle: Path, tmp_path: Path) -> None:
    root = tmp_path / "many"
    root.mkdir()
    for number in range(400):
        (root / f"{number}.png").write_bytes(photo(number, (300, 300), "PNG"))
    argv = ["evaluate", "--folder", str(root), "--model", str(tiny_bundle), "--out", str(tmp_path / "out")]
    run = subprocess.Popen(
        [sys.executable, "-c", "import sys; from amcl_serve.cli import main; sys.exit(main())", *argv],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert run.stderr is not None
    first = run.stderr.readline()  # it has begun
    assert first
    time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    rest = run.communicate(timeout=60)[1]
    assert run.returncode == 130, first + rest
    assert "interrupted; nothing was written" in rest
    assert "Traceback" not in rest
    assert list((tmp_path / "out").iterdir()) == []


def test_a_server_answers_as_the_model_in_this_process(tiny_bundle: Path, client: Client) -> None:
    here, there = local(tiny_bundle), OverHttp(client, "default")
    assert (there.about.name, there.about.digest, there.about.size) == ("tiny", here.about.digest, 16)
    assert there.about.preprocessing == here.about.preprocessing
    images = [photo(seed) for seed in range(TOGETHER + 3)]
    images[5] = b"no image"
    for embedder in (here, there):
        found = embedder.embed(images)
        assert isinstance(found[5], AmclError)
        assert sum(isinstance(item, Embedded) for item in found) == TOGETHER + 2
    a, b = rows(here, images), rows(there, images)
    np.testing.assert_allclose([r.features for r in a], [r.features for r in b], atol=1e-5)
    np.testing.assert_allclose([r.heads for r in a], [r.heads for r in b], atol=1e-5)
    mine, theirs = here.score(a, a[::-1]), there.score(b, b[::-1])
    for name in ("features", "score", "probability", "heads", "temperature"):
        np.testing.assert_allclose(getattr(mine, name), getattr(theirs, name), atol=2e-4, err_msg=name)
    again = [Embedded(row.features.copy(), row.heads.copy()) for row in b]  # as somebody who kept arrays alone has them
    np.testing.assert_array_equal(there.score(again, again[::-1]).score, theirs.score)
    with pytest.raises(ModelNotFound):
        OverHttp(client, "nobody")


def rows(embedder: Embedder, images: list[bytes]) -> list[Embedded]:
    return [item for item in embedder.embed(images) if isinstance(item, Embedded)]


def test_a_model_without_heads_is_scored_by_its_features(tmp_path: Path) -> None:
    embedder = local(make_bundle(tmp_path / "headless", heads=False, calibrated=False))
    found = rows(embedder, [photo(1), photo(2)])
    scored = embedder.score(found[:1], found[1:])
    assert scored.heads is scored.temperature is scored.probability is None
    assert scored.score == scored.features


def test_served_equals_offline_sees_what_differs(tmp_path: Path, folder: Path, tiny_bundle: Path) -> None:
    folder_ = open_folder(folder, labels=False)
    bundle = make_bundle(tmp_path / "three", precisions=("fp32", "fp16", "int8"))
    embedder = local(bundle)
    section = served_equals_offline(folder_, embedder, embedder.model.bundle, embedder.settings, seed=0)
    names = [figure.name for figure in section.figures]
    assert names == ["served_cosine_int8_in_process", "served_cosine_fp16", "served_cosine_int8"]
    assert all(figure.value == pytest.approx(1) and figure.n == CLASSES * EACH for figure in section.figures)
    other = served_equals_offline(folder_, embedder, Bundle.open(tiny_bundle), embedder.settings, seed=0)
    assert "not on this machine" in other.missing
    embedder.embed = lambda images: [  # type: ignore[method-assign]
        Embedded(np.ones(8, np.float32) * number, np.empty((0, 0), np.float32)) for number, _ in enumerate(images, 1)
    ]
    good = open_folder(folder / "class 1", labels=False)
    wrong = served_equals_offline(good, embedder, embedder.model.bundle, embedder.settings, seed=0)
    value = wrong.figures[0].value
    assert value is not None
    assert value < 0.99


def test_a_collection_is_read_from_files_or_thumbnails(
    folder: Path, url: str, client: Client, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "photos"
    for kind in range(CLASSES):
        (mine / f"{kind}").mkdir(parents=True)
        for number in range(EACH):
            (mine / f"{kind}" / f"{number}.png").write_bytes(photo(100 * kind + number, (40, 32), "PNG"))
    assert cli.main(["index", str(mine), "--collection", "mine", "--thumbnails", "--url", url]) == 0
    points = client.scroll("mine", limit=1000)["points"]
    for point in points[1:]:
        body = {"payload": {"kind": int(point["payload"]["path"][0])}, "points": [point["id"]]}
        httpx.post(f"{url}/collections/mine/points/payload", json=body).raise_for_status()
    (mine / "0" / "0.png").unlink()
    found = CollectionImages(client, "mine", None, lambda _: None)
    assert sorted(found.names) == sorted(f"{kind}/{number}.png" for kind in range(CLASSES) for number in range(EACH))
    assert found.labels is None
    assert found.read(found.names.index("1/1.png")) == (mine / "1" / "1.png").read_bytes()
    assert found.read(found.names.index("0/0.png")).startswith(b"RIFF")
    assert found.from_thumbnails == 1
    with pytest.raises(StartupError, match="at 'colour'"):
        CollectionImages(client, "mine", "colour", lambda _: None)
    out = tmp_path / "out"
    capsys.readouterr()
    argv = ["evaluate", "--collection", "mine", "--labels", "kind", "--url", url, "--out", str(out)]
    assert cli.main([*argv, "--model-dir", str(tiny_bundle.parent)]) == 0
    said = capsys.readouterr()
    assert "1 points have no label at 'kind' and are left out" in said.err
    data = json.loads((out / "report.json").read_bytes())
    assert data["provenance"]["model through"] == "over HTTP"
    (served,) = [section for section in data["sections"] if section["name"] == "served"]
    assert served["figures"][0]["name"] == "served_cosine_fp32_over_http"
    assert served["figures"][0]["value"] == pytest.approx(1, abs=1e-5)


def test_a_point_without_an_image_is_unreadable(client: Client) -> None:
    client.create_collection("bare", size=8)
    client.upsert("bare", [Point(1, {"name": "a"}, vector=[1.0] * 8)])
    found = CollectionImages(client, "bare", None, lambda _: None)
    with pytest.raises(UnreadableFile, match="no file is recorded"):
        found.read(0)


def test_a_collection_without_pictures_is_evaluated_by_its_vectors(
    url: str, client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client.create_collection("vectors", size=8)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 8)) + 3 * np.eye(8)[np.arange(60) % 3]
    client.upsert("vectors", [Point(n, {"kind": n % 3}, vector=row.tolist()) for n, row in enumerate(rows)])
    out = tmp_path / "out"
    argv = ["evaluate", "--collection", "vectors", "--url", url, "--out", str(out)]
    assert cli.main([*argv, "--labels", "kind"]) == 0
    data = json.loads((out / "report.json").read_bytes())
    assert data["protocol"] == "vectors"
    assert data["provenance"]["model"] == "vectors of an unknown model"
    figures = {figure["name"]: figure for section in data["sections"] for figure in section["figures"]}
    assert figures["knn"]["value"] > 0.5
    assert figures["rankme"]["n"] == 60
    missing = {section["name"] for section in data["sections"] if "pictures" in section["missing"]}
    assert missing == {"pairs", "kinds", "pair_calibration", "pair_uncertainty", "served"}
    assert cli.main(argv) == 0
    assert cli.main([*argv, "--against", "default"]) == 1
    assert "needs pictures" in capsys.readouterr().err
