"""`make bench-model` recomputes what export wrote on the card, from archives instead of folders."""

from __future__ import annotations

import json
import shutil
import tarfile

import pytest

from amcl_serve.model.bundle import CARD_FILE
from benchmarks.study.model import main


@pytest.fixture(scope="module")
def data(photo_folders, tmp_path_factory):
    """Two archives in which held-out images and bank are mixed, as in the real ones."""
    folder = tmp_path_factory.mktemp("data")
    files = sorted(photo_folders.rglob("*.JPEG"), key=lambda path: path.name[::-1])
    for part in (0, 1):
        with tarfile.open(folder / f"tiny-imagenet-train-part{part + 1}.tar.xz", "w:xz") as archive:
            for path in files[part::2]:
                archive.add(path, f"train/{path.parent.name}/{path.name}")
    return folder


def test_agrees_with_an_honest_card(bundle, data, capsys):
    assert main(["--data", str(data), "--bundle", str(bundle.folder)]) == 0
    out = capsys.readouterr().out
    assert "64 images in the bank, 96 held out" in out
    assert "DIFFERS" not in out
    for name in ("knn_fp16", "knn_int8", "knn_untrained", "pair_auroc", "calibration brier"):
        assert name in out


def test_finds_a_dishonest_card(bundle, data, tmp_path, capsys):
    shutil.copytree(bundle.folder, tmp_path / "liar")
    path = tmp_path / "liar" / CARD_FILE
    card = json.loads(path.read_text())
    card["metrics"]["knn_int8"]["value"] += 0.02
    path.write_text(json.dumps(card))
    assert main(["--data", str(data), "--bundle", str(path.parent)]) == 1
    differing = [line for line in capsys.readouterr().out.splitlines() if "DIFFERS" in line]
    assert [line.split()[0] for line in differing] == ["knn_int8"]


def test_says_what_is_missing(bundle, tmp_path, capsys):
    assert main(["--data", str(tmp_path), "--bundle", str(bundle.folder)]) == 2
    assert "--data" in capsys.readouterr().err
    assert main(["--data", str(tmp_path), "--bundle", str(tmp_path / "nothing")]) == 2
    assert "no bundle" in capsys.readouterr().err
