from __future__ import annotations

import pytest

from training.config import override, recipes
from training.run.length import doubts, resolve_epochs


@pytest.mark.parametrize(
    ("images", "epochs"), [(500, 800), (5000, 800), (20_000, 500), (50_000, 200), (1_281_167, 50), (10**8, 50)]
)
def test_auto_shows_ten_million_images_within_bounds(images: int, epochs: int) -> None:
    config = override(recipes.recipe("simclr"), ["train.epochs=auto"])
    assert resolve_epochs(config, images).train.epochs == epochs
    assert resolve_epochs(override(config, ["train.epochs=7"]), images).train.epochs == 7


def test_a_schedule_that_suits_raises_no_doubt() -> None:
    config = recipes.recipe("simclr")
    assert doubts(config, 50_000, 39_000) == []
    assert doubts(override(config, ["train.epochs=800"]), 5000, 15_200) == []


@pytest.mark.parametrize(
    ("words", "images", "steps", "says"),
    [
        (["train.epochs=5000"], 5000, 95_000, "seen in 5000 epochs"),
        (["train.epochs=20"], 5000, 380, "the whole schedule has 380 steps"),
        (
            ["train.epochs=800"],
            600,
            1600,
            "only 2 batches of 256, and each epoch leaves out 88: train.batch_size=75 or",
        ),
        (["train.epochs=800", "train.batch_size=300"], 300, 1600, "only 1 batch of 300: "),
    ],
)
def test_too_little_data_is_said(words: list[str], images: int, steps: int, says: str) -> None:
    (found,) = doubts(override(recipes.recipe("simclr"), words), images, steps)
    assert says in found
