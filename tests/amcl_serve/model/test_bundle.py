from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amcl_serve.errors import BundleError
from amcl_serve.model.bundle import CARD_FILE, MODELS_DIR, TEMPERATURE_FILE, Bundle, probe_image
from tests.fakes import make_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle", precisions=("fp32", "int8"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    card = json.loads((folder / CARD_FILE).read_text())
    change(card)
    (folder / CARD_FILE).write_text(json.dumps(card))


def test_open(folder: Path) -> None:
    bundle = Bundle.open(folder)
    assert bundle.card.name == "tiny"
    assert bundle.precisions == ("fp32", "int8")
    assert bundle.encoder_path("int8").is_file()
    assert bundle.temperature_path == folder / TEMPERATURE_FILE


def test_a_bundle_may_do_without_heads(folder: Path) -> None:
    edit(folder, lambda card: card.update(num_heads=0, head_dim=0, temperature=None))
    edit(folder, lambda card: card["files"].pop(TEMPERATURE_FILE))
    (folder / TEMPERATURE_FILE).unlink()
    card = Bundle.open(folder).card
    assert (card.num_heads, card.head_dim, card.temperature) == (0, 0, None)


def test_a_card_from_before_crops_keeps_its_meaning() -> None:
    (folder,) = MODELS_DIR.glob("simclr-*")
    assert "crop" not in json.loads((folder / CARD_FILE).read_text())["input"]
    bundle = Bundle.open(folder)
    assert (bundle.card.input.interpolation, bundle.card.input.crop) == ("bilinear", 1.0)
    assert bundle.digest == "sha256:" + hashlib.sha256((folder / CARD_FILE).read_bytes()).hexdigest()


def test_digest_is_of_the_content(folder: Path, tmp_path: Path) -> None:
    again = make_bundle(tmp_path / "again", precisions=("fp32", "int8"))
    other = make_bundle(tmp_path / "other", adaptive=False)
    assert Bundle.open(folder).digest == Bundle.open(again).digest != Bundle.open(other).digest


def test_a_flipped_bit_is_noticed(folder: Path) -> None:
    path = folder / "encoder.fp32.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"encoder\.fp32\.onnx is not the file"):
        Bundle.open(folder)
    Bundle.open(folder, verify=False)


def test_a_missing_file_and_a_short_one(folder: Path) -> None:
    path = folder / TEMPERATURE_FILE
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match="is not the file"):
        Bundle.open(folder, verify=False)
    path.unlink()
    with pytest.raises(BundleError, match=r"temperature\.onnx is missing"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda card: card.update(schema_version=2), "schema version 2; this amcl-serve reads version 1"),
        (lambda card: card.pop("name"), "name: Field required"),
        (lambda card: card.update(colour="red"), "colour: Extra inputs"),
        (lambda card: card["input"].update(size=0), "input.size"),
        (lambda card: card.update(pair_score={"weighting": "median"}), "pair_score.weighting"),
        (lambda card: card.update(pair_score={"weighting": "weights"}), "weights None does not suit"),
        (lambda card: card.update(pair_score={"weighting": "mean", "weights": [1] * 3}), "does not suit"),
        (lambda card: card.update(pair_score={"weighting": "weights", "weights": [1, 1]}), "does not suit 3 heads"),
        (lambda card: card.update(pair_score={"weighting": "weights", "weights": [0, 0, 0]}), "all 0"),
        (lambda card: card.update(pair_score={"weighting": "weights", "weights": [1, 1, -1]}), "pair_score.weights.2"),
        (lambda card: card["files"].pop(TEMPERATURE_FILE), "names no temperature.onnx"),
        (lambda card: card.update(num_heads=0), "num_heads 0, head_dim 4 and temperature given"),
        (lambda card: card.update(head_dim=0), "num_heads 3, head_dim 0"),
        (lambda card: card.update(temperature=None), "and temperature null: a model without heads has 0, 0 and null"),
        (lambda card: card.update(num_heads=0, head_dim=0), "and temperature given"),
        (lambda card: card.update(num_heads=0, head_dim=0, temperature=None), "but the model has no heads"),
        (lambda card: card["input"].update(crop=0), "input.crop"),
        (lambda card: card["input"].update(interpolation="nearest"), "input.interpolation"),
        (lambda card: [card["files"].pop(f"encoder.{p}.onnx") for p in ("fp32", "int8")], "names no encoder"),
        (lambda card: card["files"].update({"../x": {"bytes": 1, "sha256": "0" * 64}}), "leaves the folder"),
    ],
)
def test_a_wrong_card_is_named(folder: Path, change: Callable[[dict[str, Any]], object], words: str) -> None:
    edit(folder, change)
    with pytest.raises(BundleError) as error:
        Bundle.open(folder)
    assert words in error.value.detail


@pytest.mark.parametrize("text", ["", "[]", "{}", "\x00"])
def test_no_card_at_all(folder: Path, text: str) -> None:
    (folder / CARD_FILE).write_text(text)
    with pytest.raises(BundleError):
        Bundle.open(folder)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="python -m export"):
        Bundle.open(tmp_path / "nothing")


def test_a_precision_that_is_not_there(folder: Path) -> None:
    with pytest.raises(BundleError, match="no fp16 encoder; it has fp32, int8"):
        Bundle.open(folder).encoder_path("fp16")


def test_probe_image_is_fixed() -> None:
    image = probe_image(8)
    assert image.shape == (8, 8, 3)
    assert image.dtype == np.uint8
    assert image[0, 0].tolist() == probe_image(8)[0, 0].tolist()
    assert len(np.unique(probe_image(64).reshape(-1, 3), axis=0)) > 500
