"""`benchmarks.training.race` and its supervised reference at a tiny size."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.study.budget import read
from benchmarks.training import race, supervised
from training.config import override
from training.config.recipes import simclr


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """Images of 32 px of one colour with noise, three classes: 120 to train on, 24 to test."""
    folder, rng = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 8)):
        for channel, name in enumerate(("red", "green", "blue")):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 80, (32, 32, 3), np.uint8)
                pixels[..., channel] += 150
                Image.fromarray(pixels).save(folder / part / name / f"{number}.jpg", quality=95)
    return folder


def test_the_schedule_is_what_fits():
    assert race.fitting(100, 1000, 50_000) == 1  # 1.94
    assert race.fitting(500, 20_000, 50_000) == 194
    with pytest.raises(ValueError, match="20 s are too few for an epoch of 50000 images at 1000 a second"):
        race.fitting(20, 1000, 50_000)


def test_each_image_is_moved_and_flipped_by_its_own_numbers():
    config = override(simclr(), ["data.mean=0,0,0", "data.std=1,1,1"])
    torch.manual_seed(0)
    x = torch.randint(1, 256, (64, 3, 8, 8), dtype=torch.uint8)
    moved = supervised._shifted(x, config).mul(255).round()
    padded = torch.nn.functional.pad(x, (4, 4, 4, 4)).float()
    seen = set()
    for image, out in zip(padded, moved, strict=True):
        places = [
            (top, left, flip)
            for top in range(9)
            for left in range(9)
            for flip in (False, True)
            if torch.equal(out, _cut(image, top, left).flip(2) if flip else _cut(image, top, left))
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) > 30


def _cut(image, top, left):
    return image[:, top : top + 8, left : left + 8]


def test_the_supervised_reference_tells_colours_apart(cifar, tmp_path, capsys):
    words = ["backbone.width=4", "backbone.stem=imagenet", "train.batch_size=12", "train.threads=1"]
    results = tmp_path / "race.jsonl"
    more = ["--device", "cpu", "--supervised", "--epochs", "6", "--results", str(results), "--commit", "abc"]
    assert race.main(["--data", str(cifar), *more, *words]) == 0
    (line,) = read(results)
    assert line["accuracy"] > 0.9
    assert (line["name"], line["epochs"], line["queries"], line["device"]) == ("supervised", 6, 24, "cpu")
    capsys.readouterr()
    assert race.main(["--print", "--results", str(results)]) == 0
    assert f"| 6 |  |  | {line['accuracy']:.4f} |" in capsys.readouterr().out


def test_a_missing_folder_is_said_in_a_line(tmp_path, capsys):
    assert race.main(["--data", str(tmp_path), "--device", "cpu", "--supervised"]) == 1
    assert "is not a folder" in capsys.readouterr().err


@pytest.mark.slow
def test_a_race_ends_with_figures_of_the_last_epoch(cifar, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(race, "STEPS", 40)
    words = ["--data", str(cifar), "--device", "cpu", "--runs", str(tmp_path), "--results", str(tmp_path / "r.jsonl")]
    words += ["backbone.width=4", "backbone.stem=imagenet", "train.batch_size=12", "train.threads=1", "heads.hidden=16"]
    monkeypatch.setattr(race, "fitting", lambda seconds, rate, images: 3)
    assert race.main([*words, "--minutes", "4", "--validate"]) == 0
    (line,) = read(tmp_path / "r.jsonl")
    assert line["epochs"] == 3
    assert line["in_one_go"]
    assert (line["bank"], line["queries"]) == (108, 12)
    config = json.loads((tmp_path / "race-simclr-validated/config.json").read_text())
    assert config["train"]["epochs"] == 3
    assert line["step"] == 3 * (108 // 12)
    assert race.main([*words, "--validate"]) == 1
    assert "give another --name" in capsys.readouterr().err
