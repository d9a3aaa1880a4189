"""What is measured of pairs, from hand-made numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.data import FolderImages, Subset
from training.judging.pairs import Pairs, PairScores
from training.report.measure import pair_images

RNG = np.random.default_rng(0)


def scores(mean: float, *, count: int = 40, heads: int = 2) -> PairScores:
    similarity = np.clip(RNG.normal(mean, 0.2, (count, heads)), -1, 1)
    return PairScores(similarity[:, 0], similarity, np.full((count, heads), 0.2))


def test_score_and_logit_of_pairs() -> None:
    pair = PairScores(np.zeros(1), np.array([[0.9, 0.3]]), np.array([[0.1, 0.2]]))
    assert pair.score == pytest.approx([0.7])
    assert pair.logit == pytest.approx([(9 + 1.5) / 2])


def test_the_interval_holds_the_auroc_and_depends_on_the_seed_alone() -> None:
    pairs = Pairs(scores(0.5), scores(0.2), 0.1)
    low, high = pairs.auroc_interval("score", 3)
    assert low < pairs.separations()["score"].auroc < high
    assert pairs.auroc_interval("score", 3) == (low, high)
    assert pairs.auroc_interval("score", 4) != (low, high)


def test_pair_images_are_drawn_by_the_seed_from_those_that_can_be_read(folder: Path, tmp_path: Path) -> None:
    for index, path in enumerate(sorted(folder.rglob("*.jpg"))[:6]):
        target = tmp_path / f"c{index % 2}" / path.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(b"no image" if index == 3 else path.read_bytes())
    images = FolderImages(tmp_path)
    broken = next(i for i in range(6) if (tmp_path / images.name(i)).read_bytes() == b"no image")
    queries = Subset(images, np.arange(6))
    chosen = pair_images(queries, 5, 0)
    assert sorted(chosen) == [i for i in range(6) if i != broken]
    assert pair_images(queries, 5, 0) == chosen
    assert len(pair_images(queries, 2, 1)) == 2
    with pytest.raises(ValueError, match="at least two"):
        pair_images(Subset(images, np.array([broken])), 5, 0)
