"""What the table of `benchmarks.table` is made of: rows, their cells, and the runs that each takes.

The cells of a row are equal but for heads and temperature:

    a   C = 1, the constant temperature that is best for one head
    b   C = 3, the constant temperature that is best for three
    c   C = 3, adaptive around the level of b
    d   C = 1, adaptive around the level of a

Adaptive cells take the level that suits their constant neighbour, so that a difference is not one of levels, and they
get no search of their own. The search trains one and three heads at the same few constants, for fewer epochs, on nine
tenths of the training images, and takes the kNN on the last tenth; test images are not opened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from training import recipes
from training.config import Config, override, validate

HEADS = {"a": 1, "b": 3, "c": 3, "d": 1}
LEVEL_OF = {"a": 1, "b": 3, "c": 3, "d": 1}  # heads whose best constant a cell takes
ADAPTIVE = "cd"
SEARCH = "search"
KNN = "knn_20"


@dataclass(frozen=True)
class Size:
    """What is the same for all rows, but for the words that suit a kind of network alone."""

    epochs: int = 200
    search_epochs: int = 40
    batch: int = 512
    width: int = 64
    stem: str = "cifar"
    image_size: int = 32
    extra: tuple[str, ...] = ()  # KEY=VALUE for every run


@dataclass(frozen=True)
class Row:
    """A line of the table. `searched`: whether its best constants are looked for; else the recipe's is taken."""

    name: str
    recipe: str
    words: tuple[str, ...] = ()
    cells: str = "abcd"
    searched: bool = True
    seeds: int = 1

    @property
    def vit(self) -> bool:
        return recipes.recipe(self.recipe).backbone.name == "vit"


# In the order in which they matter. SimSiam and Barlow Twins have no temperature: their constant is 1.
ROWS = (
    Row("simclr", "simclr", seeds=2),
    Row("simclr-a", "simclr", ("augment.kinds=a",)),
    Row("simclr-abc", "simclr", ("augment.kinds=abc",)),
    Row("simclr-abcde", "simclr", ("augment.kinds=abcde",)),
    Row("moco", "moco"),
    Row("simsiam", "simsiam", searched=False),
    Row("barlow_twins", "barlow_twins", searched=False),
    Row("lgp", "lgp", cells="ac", searched=False),
    Row("can", "can", cells="ac", searched=False),
)


@dataclass(frozen=True)
class Job:
    """One run: what it has in common with its row, and what is its own."""

    row: str
    recipe: str
    cell: str  # a letter, or SEARCH
    seed: int
    common: tuple[str, ...]
    own: tuple[str, ...]
    variant: tuple[str, ...] = ()  # what of `own` was asked for beyond the cell

    @property
    def words(self) -> tuple[str, ...]:
        """For `training.pretrain`, all but the images."""
        return (self.recipe, *self.common, *self.own, f"train.seed={self.seed}")

    @property
    def config(self) -> Config:
        """ValueError when the words do not fit together."""
        return validate(override(recipes.recipe(self.recipe), self.words[1:]))

    @property
    def folder(self) -> str:
        """Its name: another for other words."""
        return f"{self.row}-{self.cell}-{hashlib.sha256(' '.join(self.words).encode()).hexdigest()[:8]}"

    def line(self) -> dict[str, Any]:
        """What the results say of it beside its figures."""
        return {
            "row": self.row, "cell": self.cell, "seed": self.seed, "recipe": self.recipe, "common": list(self.common),
            "own": list(self.own), "variant": list(self.variant),
        }  # fmt: skip

    def find(self, lines: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """Its line among the results."""
        return next((line for line in lines if self.line().items() <= line.items()), None)


def rows(names: Sequence[str]) -> list[Row]:
    """The rows called NAME or NAME:SEEDS, in the order given; ValueError lists the known ones."""
    known = {row.name: row for row in ROWS}
    found = []
    for text in names:
        name, _, seeds = text.partition(":")
        if name not in known or not (seeds or "1").isdecimal():
            raise ValueError(f"{text!r} is no row; they are {', '.join(known)}, with :SEEDS behind them if need be")
        found.append(replace(known[name], seeds=int(seeds or known[name].seeds)))
    return found


def common(row: Row, size: Size, epochs: int) -> tuple[str, ...]:
    """The words that all cells of a row share."""
    words = [f"data.image_size={size.image_size}", f"train.batch_size={size.batch}", f"train.epochs={epochs}"]
    if row.vit:  # ViT-Tiny, with patches that suit small images; the recipes' warm-up is a twentieth of their length
        words += ["backbone.patch=4", f"train.warmup_epochs={epochs / 20:g}"]
        words += [f"masked.epochs={max(1, epochs // 2)}"] if row.recipe == "lgp" else []
    else:
        words += [f"backbone.width={size.width}", f"backbone.stem={size.stem}"]
    return (*words, *row.words, *size.extra)


def search(row: Row, size: Size, temperatures: Sequence[float]) -> list[Job]:
    """The runs that look for the best constants: as many for one head as for three; none where there is no choice."""
    if not row.searched or len(temperatures) == 1:
        return []
    shared = common(row, size, size.search_epochs)
    return [
        Job(row.name, row.recipe, SEARCH, 0, shared, _own(heads, "constant", value))
        for value in temperatures
        for heads in (1, 3)
    ]


def best(row: Row, jobs: Sequence[Job], lines: Sequence[Mapping[str, Any]], only: float) -> dict[int, float] | None:
    """The best constant of one head and of three, by kNN on the search's held-out images; None while runs are missing.

    Without a search the recipe's for a row that has none, else `only`. Of equal ones the first.
    """
    if not jobs:
        value = only if row.searched else recipes.recipe(row.recipe).temperature.value
        return {1: value, 3: value}
    found = [job.find(lines) for job in jobs]
    if None in found:
        return None
    chosen: dict[int, tuple[float, float]] = {}
    for job, line in zip(jobs, found, strict=True):
        assert line is not None
        config = job.config
        heads, value = config.heads.num, config.temperature.value
        if heads not in chosen or line[KNN] > chosen[heads][0]:
            chosen[heads] = (line[KNN], value)
    return {heads: value for heads, (_, value) in chosen.items()}


def cells(row: Row, size: Size, temperatures: Mapping[int, float], variant: Sequence[str] = ()) -> list[Job]:
    """The row's runs at the best constants, seed by seed; `variant` words change the adaptive cells alone."""
    shared = common(row, size, size.epochs)
    found = []
    for seed in range(row.seeds):
        for cell in row.cells:
            adaptive = cell in ADAPTIVE
            own = _own(HEADS[cell], "adaptive" if adaptive else "constant", temperatures[LEVEL_OF[cell]])
            more = tuple(variant) if adaptive else ()
            found.append(Job(row.name, row.recipe, cell, seed, shared, (*own, *more), more))
    return found


def _own(heads: int, kind: str, value: float) -> tuple[str, ...]:
    return (f"heads.num={heads}", f"temperature.kind={kind}", f"temperature.value={value:g}")
