"""Judging a run by photographs: as often as one likes, each is decoded once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from amcl_serve.model.pixels import upright
from tests.images import photo
from tests.training.command import SMALL
from training import config as configs
from training import data
from training.augment import Augmentation
from training.config import recipes
from training.data import Cache
from training.judging.judge import Judge, Verdict
from training.model.model import untrained

COUNT, SAMPLED = 16, 16
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 JPEGs of 300 x 200 in two classes, which are reduced to 192 x 128."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(COUNT):
        path = root / f"class{number // 2 % 2}" / f"{number:02d}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(photo(number, (300, 200)))
    return root


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many photographs were decoded, whole and reduced."""
    counts = {"whole": 0, "reduced": 0}

    def counting(kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **words: Any) -> Any:
            counts[kind] += 1
            return original(*args, **words)

        return counted

    for kind, module in (("whole", "sources"), ("reduced", "reduced")):
        monkeypatch.setattr(f"training.data.{module}.upright", counting(kind, upright))
    return counts


def judge(folder: Path, cache: Cache | None, *words: str) -> Callable[[], Verdict]:
    """Gives a verdict on an untrained network each time."""
    config = configs.override(recipes.recipe("simclr"), [*SMALL, f"data.eval_spec=folder:{folder}", *words])
    found, model = Judge(config, data.open_images(f"folder:{folder}"), cache), untrained(config)
    return lambda: found(model, CPU)


def test_a_second_verdict_decodes_nothing(photos: Path, tmp_path: Path, decoded: dict[str, int]) -> None:
    cache = Cache(tmp_path / "cache", 1 << 30)
    verdict = judge(photos, cache)
    assert not cache.path.exists()
    first = verdict()
    assert first.numbers["knn"] >= 0
    assert decoded == {"whole": 0, "reduced": COUNT + 2 * SAMPLED}  # bank and queries are sampled
    second = verdict()
    assert decoded == {"whole": 0, "reduced": COUNT + 2 * SAMPLED}
    assert second == first


def test_images_without_labels_are_decoded_once_too(photos: Path, tmp_path: Path, decoded: dict[str, int]) -> None:
    (tmp_path / "flat").mkdir()
    for path in photos.rglob("*.jpg"):
        (tmp_path / "flat" / path.name).symlink_to(path)
    verdict = judge(tmp_path / "flat", Cache(tmp_path / "cache", 1 << 30))
    numbers = [verdict().numbers for _ in range(3)]
    assert numbers[0] == numbers[1] == numbers[2]
    assert decoded == {"whole": 0, "reduced": COUNT + SAMPLED}


def test_what_training_has_kept_is_not_decoded_again(photos: Path, tmp_path: Path, decoded: dict[str, int]) -> None:
    cache = Cache(tmp_path / "cache", 1 << 30)
    images = data.open_images(f"folder:{photos}")
    augmentation = Augmentation(recipes.recipe("simclr").augment, 16)
    settings = {"batch_size": 8, "seed": 0, "start": 0, "stop": 2, "device": CPU, "resident": "never", "workers": 0}
    assert len(list(data.batches(images, augmentation, reduce=True, cache=cache, **settings))) == 2
    before = decoded["reduced"]
    judge(photos, cache)()
    assert decoded == {"whole": 0, "reduced": before + 2 * SAMPLED}


def test_the_figures_do_not_depend_on_the_cache(photos: Path, tmp_path: Path, decoded: dict[str, int]) -> None:
    warm = judge(photos, Cache(tmp_path / "cache", 1 << 30))
    warm()
    without = judge(photos, None)
    full = judge(photos, Cache(tmp_path / "full", 8 * 16384 + 3 * 192 * 128 * 3))
    parallel = judge(photos, Cache(tmp_path / "cache", 1 << 30), "data.workers=2")
    assert warm() == without() == full() == full() == parallel()
    before = decoded["reduced"]
    without()
    assert decoded["reduced"] > before


def test_whole_photographs_where_nothing_is_reduced(photos: Path, tmp_path: Path, decoded: dict[str, int]) -> None:
    whole = judge(photos, Cache(tmp_path / "cache", 1 << 30), "data.reduce=never")()
    assert decoded["whole"] > 0
    assert decoded["reduced"] == 0
    assert not (tmp_path / "cache").exists()
    reduced = judge(photos, None)()
    for name, value in reduced.numbers.items():
        assert value == pytest.approx(whole.numbers[name], rel=0.2, abs=0.15), name


def test_small_images_make_no_cache(folder: Path, tmp_path: Path) -> None:
    verdict = judge(folder, Cache(tmp_path / "cache", 1 << 30))
    assert verdict() == judge(folder, None, "data.reduce=never")()
    assert not (tmp_path / "cache").exists()
