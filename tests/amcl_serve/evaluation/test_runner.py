"""The runner, from a folder to a result, with an embedder that is no model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from amcl_serve.errors import AmclError, InvalidRequest
from amcl_serve.evaluation.datasets import open_folder, open_pairs
from amcl_serve.evaluation.embedder import Embedded
from amcl_serve.evaluation.progress import Cancelled
from amcl_serve.evaluation.protocols.choice import protocol_for
from amcl_serve.evaluation.protocols.label_free import LabelFree
from amcl_serve.evaluation.protocols.labelled import Labelled
from amcl_serve.evaluation.protocols.verification import Verification
from amcl_serve.evaluation.result import Result
from amcl_serve.evaluation.runner import run
from tests.amcl_serve.evaluation.embedders import Colours


def quiet(stage: str, done: int, total: int) -> None:
    assert 0 <= done <= total, stage


def sections(result: Result) -> set[str]:
    return {section.name for section in result.sections}


def test_a_folder_without_labels(plain: Path) -> None:
    dataset = open_folder(plain)
    assert protocol_for(dataset) == LabelFree()
    embedder = Colours()
    result = run(dataset, embedder, LabelFree(), quiet)
    found = result.figures()
    assert {"health", "pairs", "kinds", "pair_calibration", "pair_uncertainty", "geometry", "cost"} <= sections(result)
    assert max(embedder.calls) <= 12 * 16 * 2  # a bounded number of images at a time
    auroc = found["pair_auroc"]
    assert auroc.value is not None
    assert auroc.low is not None
    assert auroc.high is not None
    assert 0 <= auroc.low <= auroc.value <= auroc.high <= 1
    assert found["pair_auroc_b"].value > 0.95  # type: ignore[operator]
    assert auroc.n == 64  # half of the images choose the threshold
    assert found["pair_tar_at_far_0.01"].value is None
    assert "false accepts" in found["pair_tar_at_far_0.01"].protocol
    assert found["pair_auroc_c"].value > found["pair_auroc_a"].value  # type: ignore[operator]
    pairs = next(section for section in result.sections if section.name == "pairs")
    assert all(thumbnail.startswith(b"\xff\xd8") for case in pairs.cases for thumbnail in case.thumbnails)
    json.dumps(result.to_json(), allow_nan=False)
    assert result.provenance["images read"] == 64
    again = run(dataset, Colours(), LabelFree(), quiet).figures()
    assert {n: f for n, f in again.items() if n != "images_per_second"} == {
        n: f for n, f in found.items() if n != "images_per_second"
    }


def test_a_folder_of_classes_and_a_second_model(classes: Path) -> None:
    dataset = open_folder(classes)
    protocol = protocol_for(dataset)
    assert isinstance(protocol, Labelled)
    result = run(dataset, Colours(), protocol, quiet, against=Colours("worse", noise=0.6, heads=False))
    found = result.figures()
    assert found["knn"].value == 1.0
    assert found["linear_probe"].value == 1.0
    assert found["recall_at_1"].value == 1.0
    assert found["nmi"].value == pytest.approx(1)
    assert found["class_pair_auroc"].value > 0.9  # type: ignore[operator]
    difference = found["map_difference"]
    assert difference.value > 0
    assert difference.low > 0
    assert 0 < found["neighbour_overlap"].value < 1  # type: ignore[operator]
    assert result.provenance["against"] == "worse"
    beside = next(section for section in result.sections if section.name == "against")
    titles = [figure.title for figure in beside.figures]
    assert len(set(titles)) == len(titles)  # pairs of views and pairs of a class have figures of the same titles
    rows = {row[0]: row[1:] for row in beside.tables[0].rows}
    assert rows["kNN, k = 20, %"][0] == 100
    assert len({case.images[0].split("/")[0] for case in beside.cases}) > 1
    approximate = next(section for section in result.sections if section.name == "approximate")
    assert "120 images are searched exactly" in approximate.missing
    rankme = found["rankme"]
    assert rankme.n == 120
    assert rankme.low < rankme.value < rankme.high  # type: ignore[operator]


def test_without_scipy_the_probe_says_so(classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    result = run(open_folder(classes), Colours(), Labelled(images=40, each_kind=8), quiet)
    probe = next(section for section in result.sections if section.name == "linear_probe")
    assert "amcl-serve[evaluation]" in probe.missing


def test_unreadable_and_equal_images_are_named(plain: Path) -> None:
    (plain / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (plain / "empty.png").write_bytes(b"")
    shutil.copy(plain / "000.png", plain / "copy.png")
    result = run(open_folder(plain), Colours(), LabelFree(), quiet)
    found = result.figures()
    assert (found["unreadable"].value, found["unreadable"].n) == (2, 67)
    assert found["exact_duplicates"].value == 1
    health = next(section for section in result.sections if section.name == "health")
    told = {str(cell) for table in health.tables for row in table.rows for cell in row}
    assert {"broken.jpg", "empty.png", "000.png, copy.png"} <= told


def test_held_out_images_ask_the_bank_and_leaks_are_seen(classes: Path, tmp_path: Path) -> None:
    root = tmp_path / "split"
    shutil.copytree(classes, root / "train")
    for name in ("red", "green", "blue"):
        (root / "test" / name).mkdir(parents=True)
        for index in range(10):
            shutil.move(root / "train" / name / f"{index:03}.png", root / "test" / name / f"{index:03}.png")
    shutil.copy(root / "test/red/000.png", root / "train/red/leak.png")
    dataset = open_folder(root)
    assert dataset.queries is not None
    assert dataset.queries.sum() == 30
    found = run(dataset, Colours(), protocol_for(dataset), quiet).figures()
    assert found["knn"].n == 30
    assert found["leaks_exact"].value == 1


@pytest.mark.parametrize("seed", [0, 1])
def test_classes_that_alternate_are_halved_each(classes: Path, tmp_path: Path, seed: int) -> None:
    """In the order of names, every other image is of one class: a bank of every other image would have no other."""
    root = tmp_path / "alternating"
    root.mkdir()
    for index in range(40):
        shutil.copy(classes / "red" / f"{index:03}.png", root / f"{index:03}a.png")
        shutil.copy(classes / "blue" / f"{index:03}.png", root / f"{index:03}b.png")
    dataset = open_folder(root)
    dataset = replace(dataset, labels=[name[3] for name in dataset.names])
    found = run(dataset, Colours(), Labelled(images=16, each_kind=8, seed=seed), quiet).figures()
    assert found["knn"].value == 1.0
    assert "bank 40 images, 40 queries" in found["knn"].protocol


def test_the_data_hash_follows_names_and_contents(plain: Path) -> None:
    small = LabelFree(images=16, each_kind=8)

    def hashed() -> str:
        return str(run(open_folder(plain), Colours(), small, quiet).provenance["data hash"])

    first = hashed()
    assert first == hashed()
    (plain / "000.png").rename(plain / "000b.png")
    renamed = hashed()
    shutil.copy(plain / "001.png", plain / "000b.png")
    assert len({first, renamed, hashed()}) == 3


@pytest.mark.parametrize("stage", ["embedding", "views", "pairs abcde", "intervals"])
def test_it_ends_where_nobody_wants_it_any_more(plain: Path, stage: str) -> None:
    def progress(at: str, done: int, total: int) -> None:
        if at == stage:
            raise Cancelled

    with pytest.raises(Cancelled):
        run(open_folder(plain), Colours(), LabelFree(), progress)


def test_too_few_images_are_refused(tmp_path: Path, plain: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for index in range(5):
        shutil.copy(plain / f"{index:03}.png", few)
    with pytest.raises(InvalidRequest, match="16 images or more that can be read; there are 5 of 5"):
        run(open_folder(few), Colours(), LabelFree(), quiet)


def _pairs_file(classes: Path, lines: Callable[[int], str]) -> Path:
    path = classes / "pairs.csv"
    path.write_text("a,b,same\n" + "".join(lines(index) for index in range(40)))
    return path


def test_pairs_that_were_given(classes: Path) -> None:
    path = _pairs_file(
        classes,
        lambda i: f"red/{i:03}.png,red/{(i + 1) % 40:03}.png,1\nred/{i:03}.png,blue/{i:03}.png,0\n",
    )
    dataset = open_pairs(path)
    assert isinstance(protocol_for(dataset), Verification)
    result = run(dataset, Colours(), protocol_for(dataset), quiet)
    found = result.figures()["pair_auroc"]
    assert found.value is not None
    assert found.value > 0.9
    assert found.low is not None
    assert found.low <= found.value
    pairs = next(section for section in result.sections if section.name == "pairs")
    assert any("share images" in note for note in pairs.notes)


def test_pairs_of_one_kind_are_refused(classes: Path) -> None:
    path = _pairs_file(classes, lambda i: f"red/{i:03}.png,blue/{i:03}.png,0\n")
    with pytest.raises(InvalidRequest, match="8 of each kind"):
        run(open_pairs(path), Colours(), Verification(), quiet)


def test_labels_that_say_nothing_are_refused(plain: Path) -> None:
    dataset = replace(open_folder(plain), labels=[str(index) for index in range(64)])
    with pytest.raises(InvalidRequest, match="two or more classes"):
        run(dataset, Colours(), Labelled(), quiet)
    assert np.unique(dataset.labels).size == 64


class _Collapsed(Colours):
    def _one(self, data: bytes) -> Embedded | AmclError:
        found = super()._one(data)
        return found if isinstance(found, AmclError) else Embedded(np.ones(8, np.float32), np.ones((1, 1), np.float32))


def test_a_collapsed_model_has_a_report(plain: Path) -> None:
    found = run(open_folder(plain), _Collapsed(), LabelFree(), quiet).figures()
    assert found["pair_auroc"].value == pytest.approx(0.5)
    assert found["rankme"].value == pytest.approx(1)
    assert found["pair_ece_fitted"].value is None


class _Broken(Colours):
    def _one(self, data: bytes) -> Embedded | AmclError:
        found = super()._one(data)
        return found if isinstance(found, AmclError) else Embedded(found.features * np.nan, found.heads)


def test_a_model_that_gives_no_numbers_is_refused(plain: Path) -> None:
    with pytest.raises(InvalidRequest, match="no finite numbers"):
        run(open_folder(plain), _Broken(), LabelFree(), quiet)
