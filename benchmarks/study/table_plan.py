"""What the table of `table.py` is made of: rows, the forms of heads and temperature in each, and their runs.

A form is what heads a network has and how they judge. Constant temperatures are searched for, for each family of forms
by itself: a few values, fewer epochs, on nine tenths of the training images, judged by kNN on the last tenth; test
images are not opened. An adaptive form takes the level that is best for its constant neighbour, so that a difference is
not one of levels, and gets no search of its own. Its bounds are 0.3 and 5 times the level. Levels are given for one
head; C heads that judge together add up their logits, so theirs is C times as high.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from training.config import Config, override, recipes, validate

SEARCH = "search"
KNN = "knn_20"
LOWEST, HIGHEST = 0.3, 5.0  # bounds of adaptive temperatures, of their level


@dataclass(frozen=True)
class Form:
    """Heads and temperature. `family` names the form whose best constant is its level."""

    name: str
    title: str
    family: str
    heads: int = 1
    joint: bool = False
    of: str | None = None  # None: a constant temperature
    words: tuple[str, ...] = ()

    def own(self, level: float | None) -> tuple[str, ...]:
        """The words of the form at a level, which is given for one head; None: the recipe's level and bounds."""
        words = [f"heads.num={self.heads}", *self.words]
        words += ["loss.heads=joint"] if self.joint else []
        words += ["temperature.kind=adaptive"] if self.of else []
        words += [f"temperature.of={self.of}"] if self.of not in (None, "channels") else []
        if level is not None:
            value = level * (self.heads if self.joint else 1)
            words.append(f"temperature.value={value:g}")
            if self.of:
                words += [f"temperature.low={LOWEST * value:g}", f"temperature.high={HIGHEST * value:g}"]
        return tuple(words)


FORMS = {
    form.name: form
    for form in (
        Form("one", "C = 1", "one"),
        Form("wide", "C = 1, half as wide again", "wide", words=("heads.dim=192", "heads.hidden=768")),
        Form("separate", "C = 3, separate", "separate", 3),
        Form("separate-adaptive", "C = 3, separate, adaptive", "separate", 3, of="pairs"),
        Form("joint", "C = 3, joint", "joint", 3, joint=True),
        Form("joint-adaptive", "C = 3, joint, adaptive", "joint", 3, joint=True, of="pairs"),
        Form("joint-views", "C = 3, joint, a view's own", "joint", 3, joint=True, of="views"),
        Form("joint-similarity", "C = 3, joint, fixed τ(s)", "joint", 3, joint=True, of="similarity"),
        Form("five", "C = 5, joint", "joint", 5, joint=True),
        Form("five-adaptive", "C = 5, joint, adaptive", "joint", 5, joint=True, of="pairs"),
    )
}


@dataclass(frozen=True)
class Size:
    """What is the same for all rows, but for the words that suit a kind of network alone."""

    epochs: int = 12
    search_epochs: int = 6
    batch: int = 256
    width: int = 16
    stem: str = "small"
    image_size: int = 32
    extra: tuple[str, ...] = ()  # KEY=VALUE for every run


@dataclass(frozen=True)
class Row:
    """A line of the table. Its levels are those that the search found for the row `levels`; None: the recipe's own."""

    name: str
    recipe: str
    forms: tuple[str, ...]
    levels: str | None
    words: tuple[str, ...] = ()
    seeds: int = 1

    @property
    def vit(self) -> bool:
        return recipes.recipe(self.recipe).backbone.name == "vit"


_SEPARATE = ("one", "separate-adaptive")  # of methods without candidates, whose heads cannot judge together
_FEW = ("one", "wide", "joint", "joint-adaptive")

# In the order in which they matter. SimSiam and Barlow Twins have no temperature: their constant is 1.
ROWS = (
    Row("simclr", "simclr", tuple(FORMS), "simclr", seeds=3),
    Row("moco", "moco", _FEW, "moco", seeds=2),
    Row("simclr-a", "simclr", _FEW, "simclr", ("augment.kinds=a",), seeds=2),
    Row("simclr-abc", "simclr", _FEW, "simclr", ("augment.kinds=abc",), seeds=2),
    Row("simclr-abcde", "simclr", _FEW, "simclr", ("augment.kinds=abcde",), seeds=2),
    Row("simsiam", "simsiam", _SEPARATE, None),
    Row("barlow_twins", "barlow_twins", _SEPARATE, None),
    Row("lgp", "lgp", ("one", "joint", "joint-adaptive"), None),
    Row("can", "can", ("one", "joint", "joint-adaptive"), None),
)


@dataclass(frozen=True)
class Job:
    """One run: what it has in common with its row, and what is its own."""

    row: str
    recipe: str
    form: str
    seed: int
    common: tuple[str, ...]
    own: tuple[str, ...]
    variant: tuple[str, ...] = ()  # what of `own` was asked for beyond the form
    search: bool = False

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
        kind = SEARCH if self.search else self.form
        return f"{self.row}-{kind}-{hashlib.sha256(' '.join(self.words).encode()).hexdigest()[:8]}"

    def line(self) -> dict[str, Any]:
        """What the results say of it beside its figures."""
        return {
            "row": self.row, "form": self.form, "search": self.search, "seed": self.seed, "recipe": self.recipe,
            "common": list(self.common), "own": list(self.own), "variant": list(self.variant),
        }  # fmt: skip

    def find(self, lines: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """Its line among the results."""
        return next((line for line in lines if self.line().items() <= line.items()), None)


def rows(names: Sequence[str], forms: Sequence[str] = ()) -> list[Row]:
    """The rows called NAME or NAME:SEEDS, with `forms` or those they have; ValueError lists the known ones."""
    known = {row.name: row for row in ROWS}
    if unknown := [form for form in forms if form not in FORMS]:
        raise ValueError(f"{unknown[0]!r} is no form; they are {', '.join(FORMS)}")
    found = []
    for text in names:
        name, _, seeds = text.partition(":")
        if name not in known or not (seeds or "1").isdecimal():
            raise ValueError(f"{text!r} is no row; they are {', '.join(known)}, with :SEEDS behind them if need be")
        row = known[name]
        found.append(replace(row, seeds=int(seeds or row.seeds), forms=tuple(forms) or row.forms))
    return found


def common(row: Row, size: Size, epochs: int) -> tuple[str, ...]:
    """The words that all runs of a row share."""
    words = [f"data.image_size={size.image_size}", f"train.batch_size={size.batch}", f"train.epochs={epochs}"]
    if row.vit:  # ViT-Tiny, with patches that suit small images; the recipes' warm-up is a twentieth of their length
        words += ["backbone.patch=4", f"train.warmup_epochs={epochs / 20:g}"]
        words += [f"masked.epochs={max(1, epochs // 2)}"] if row.recipe == "lgp" else []
    else:
        words += [f"backbone.width={size.width}", f"backbone.stem={size.stem}"]
    return (*words, *row.words, *size.extra)


def search(row: Row, size: Size, levels: Sequence[float]) -> list[Job]:
    """The runs that look for the best levels of a row's families; none where there is no choice."""
    if row.levels is None or len(levels) == 1:
        return []
    of = next(each for each in ROWS if each.name == row.levels)
    shared = common(of, size, size.search_epochs)
    families = dict.fromkeys(FORMS[form].family for form in row.forms)
    return [
        Job(of.name, of.recipe, family, 0, shared, FORMS[family].own(level), search=True)
        for level in levels
        for family in families
    ]


def best(row: Row, levels: Sequence[float], size: Size, lines: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """The best level of each family of a row, by kNN on the search's held-out images; None while runs are missing.

    Without a search it is the recipe's for a row that has none, else the only one there is. Of equal ones the first.
    """
    families = dict.fromkeys(FORMS[form].family for form in row.forms)
    if row.levels is None:
        return dict.fromkeys(families, recipes.recipe(row.recipe).temperature.value)
    if len(levels) == 1:
        return dict.fromkeys(families, levels[0])
    chosen: dict[str, tuple[float, float]] = {}
    for job in search(row, size, levels):
        line = job.find(lines)
        if line is None:
            return None
        level = next(level for level in levels if FORMS[job.form].own(level) == job.own)
        if job.form not in chosen or line[KNN] > chosen[job.form][0]:
            chosen[job.form] = (line[KNN], level)
    return {family: level for family, (_, level) in chosen.items()}


def cells(row: Row, size: Size, levels: Mapping[str, float], variant: Sequence[str] = ()) -> list[Job]:
    """The row's runs at the best levels, seed by seed; `variant` words change the adaptive forms alone."""
    shared = common(row, size, size.epochs)
    found = []
    for seed in range(row.seeds):
        for form in map(FORMS.__getitem__, row.forms):
            more = tuple(variant) if form.of else ()
            level = None if row.levels is None and not form.joint else levels[form.family]
            own = _suited(row, form).own(level)
            found.append(Job(row.name, row.recipe, form.name, seed, shared, (*own, *more), more))
    return found


def _suited(row: Row, form: Form) -> Form:
    """Barlow Twins' temperatures belong to channels, which is no choice there and so no word."""
    return replace(form, of="channels") if form.of and row.recipe == "barlow_twins" else form
