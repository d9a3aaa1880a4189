"""What the served index loses, on vectors that are hard for a graph and on too few for one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from amcl_serve.errors import AmclError
from amcl_serve.evaluation.protocols.look import Look, Model
from amcl_serve.evaluation.protocols.parts import approximate as module
from amcl_serve.evaluation.protocols.parts.approximate import approximate
from amcl_serve.metrics.retrieval import rankings
from amcl_serve.vectors.types import IndexChoice
from tests.amcl_serve.evaluation.embedders import Colours


@dataclass
class Named:
    """As many images as names, which nobody reads."""

    names: list[str]
    index: IndexChoice
    name = "named"
    labels = None
    pairs = None

    def read(self, index: int) -> bytes:
        raise AmclError(f"{index} is not to be read")


def seen(count: int, choice: IndexChoice | None = None, dims: int = 24) -> tuple[Look, Model, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 30, count)
    rows = (rng.normal(size=(30, dims))[labels] + rng.normal(size=(count, dims))).astype(np.float32)
    model = Model(Colours(), rows, np.empty((count, 0, 0), np.float32))
    look = Look(
        Named([str(i) for i in range(count)], choice or IndexChoice()),
        count,
        [],
        np.arange(count),
        [],
        [],
        [model],
        "",
        {},
    )
    return look, model, labels


def quiet(stage: str, done: int, total: int) -> None:
    assert 0 <= done <= total, stage


def test_few_images_have_no_approximate_index() -> None:
    look, model, labels = seen(100)
    assert "100 images are searched exactly" in approximate(look, model, labels, quiet).missing
    look, model, labels = seen(100, IndexChoice("exact"))
    assert "made so" in approximate(look, model, labels, quiet).missing


@pytest.mark.parametrize("choice", [IndexChoice(), IndexChoice("ivf", "int8")])
def test_overlap_and_what_it_costs(choice: IndexChoice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE", 3000)
    look, model, labels = seen(4000, choice)
    section = approximate(look, model, labels, quiet).section(0)
    found = {figure.name: figure for figure in section.figures}
    overlap = found["approximate_overlap"]
    assert overlap.n == 1000
    assert overlap.value is not None
    assert overlap.value > 0.3
    if choice.kind == "ivf":  # a sixteenth of the lists does not hold all of the ten nearest
        assert overlap.value < 1
    rows = {str(row[0]): row[1:] for row in section.tables[0].rows}
    asking = np.linspace(0, 3999, 1000).round().astype(int)
    bank = np.setdiff1d(np.arange(4000), asking)
    exact = rankings(model.features[bank], labels[bank], model.features[asking], labels[asking])
    for k in (1, 5, 10):
        assert rows[f"recall at {k}"][0] == pytest.approx(np.mean(exact.first <= k))
        difference = found[f"approximate_recall_at_{k}_difference"]
        assert difference.value == pytest.approx(rows[f"recall at {k}"][2])
    assert found["approximate_map_difference"].low is not None
