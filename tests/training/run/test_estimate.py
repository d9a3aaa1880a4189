from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.training.command import OF, losses, train
from training import data
from training.config import Config, override, recipes
from training.machine import resolve
from training.run.estimate import Pace, Part, Way, seconds_a_step, sentence, span


def config(*words: str) -> Config:
    return resolve(override(recipes.recipe("simclr"), ["train.device=cpu", "train.threads=2", *words]))


def test_steps_that_cost_the_same_are_told_apart() -> None:
    assert Way(0, 100, (100,), 0, 10).parts() == [Part(100, 0, 0)]
    assert Way(30, 90, (100,), 75, 10).parts() == [Part(45, 30, 0), Part(15, 75, 0)]
    assert Way(0, 60, (20, 100), 0, 10).parts() == [Part(20, 0, 0), Part(40, 20, 1)]
    assert Way(20, 60, (20, 100), 0, 10).parts() == [Part(40, 20, 1)]


def test_the_slower_of_computing_and_reading_sets_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.machine.cores", lambda: 4)
    assert seconds_a_step(1.0, 2.0, config("data.workers=0"), 1) == 3.0
    assert seconds_a_step(1.0, 9.0, config("data.workers=3"), 1) == 3.0  # reading
    assert seconds_a_step(1.0, 0.1, config("data.workers=3"), 1) == 1.0  # computing, and a core is free for reading
    assert seconds_a_step(1.0, 2.8, config("data.workers=3", "train.threads=4"), 1) == pytest.approx(1.7)  # the cores


def test_first_and_later_epochs_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """512 images, 2 steps an epoch, 256 · 0.1 s to decode a batch with two workers, nothing to copy it."""
    monkeypatch.setattr("training.machine.cores", lambda: 4)
    way = [(Part(100, 0, 0), Pace(1.0, 0.0))]
    found = data.Sample([Image.new("RGB", (1, 1))], cold=0.1, warm=0.0, large=1.0, kept=0.0, keeps=1.0)
    settings = config("data.workers=2")
    text = sentence(settings, found, way, 2, 1)
    assert text.startswith("estimate: about 2.1 min for 100 steps, the first epoch about 26 s, a later one 2.0 s: ")
    assert "reading an image takes 100 ms, or less than 1 ms from the cache; 2 workers" in text
    warm = data.Sample(found.images, 0.1, 0.0, 1.0, 1.0, 1.0)
    assert "first epoch about 2.0 s" in sentence(settings, warm, way, 2, 1)
    full = data.Sample(found.images, 0.1, 0.0, 1.0, 0.0, 0.25)
    assert "a later one 19 s" in sentence(settings, full, way, 2, 1)  # three quarters of 25.6
    assert "it will hold 25% of the images" in sentence(settings, full, way, 2, 1)


def test_times_are_said_as_people_say_them() -> None:
    assert [span(s) for s in (0.0004, 0.05, 1.2, 3, 80, 100, 5000, 7200, 200_000)] == [
        "less than 1 ms", "50 ms", "1200 ms", "3.0 s", "80 s", "1.7 min", "83 min", "2.0 h", "2.3 d",
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "resident"), [("simclr", "never"), ("moco", "always"), ("lgp", "never")])
def test_measuring_changes_no_step(
    folder: Path,
    tmp_path: Path,
    name: str,
    resident: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = [name, *OF[name], f"data.resident={resident}", "train.epochs=2"]
    assert train(folder, tmp_path / "plain", *settings) == 0
    assert "A guess" not in capsys.readouterr().out
    monkeypatch.setattr("training.run.estimate.WORTH", 1)
    assert train(folder, tmp_path / "measured", *settings) == 0
    out = capsys.readouterr().out
    assert f"for {9 if name == 'lgp' else 6} steps" in out
    assert ("reading an image takes" in out) == (resident == "never")
    assert losses(tmp_path / "plain") == losses(tmp_path / "measured")
    assert torch.is_grad_enabled()
