"""All measurements of a report: every run, and its network before training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from training.data import Labelled, Subset
from training.report.measure import Measures, measure_network, pair_images
from training.report.runs import Run, untrained


@dataclass(frozen=True)
class Measured:
    """One run beside the same network untrained."""

    run: Run
    here: Measures
    floor: Measures


@dataclass(frozen=True)
class Study:
    """One run, or two: the one compared with comes first."""

    measured: Sequence[Measured]
    data: str
    in_common: int  # of the judged images, how many a run learnt from
    pairs: int  # positive ones, and as many negative ones
    seed: int

    @property
    def judged(self) -> Measured:
        """The run that is judged, not the one that it is compared with."""
        return self.measured[-1]


def measure(
    runs: Sequence[Run],
    queries: Subset,
    labelled: Labelled | None,
    *,
    data: str,
    in_common: int,
    pairs: int,
    seed: int,
    say: Callable[[str], None],
) -> Study:
    """Measure every run and its untrained twin by the images `queries`, which are `labelled`'s if they have labels.

    `in_common` of them a run has learnt from; `say` hears what is being done. ValueError when something is unfit.
    """
    chosen = pair_images(queries, pairs, seed)
    floors: dict[tuple[Any, ...], Measures] = {}

    def measured(run: Run, labelled: Labelled | None) -> Measures:
        bank = f"{len(labelled.bank.indices)} + " if labelled else ""
        say(f"{run.name}: features of {bank}{len(queries.indices)} images, {len(chosen)} + {len(chosen)} pairs")
        return measure_network(run, queries, labelled, chosen, seed)

    found = []
    for run in runs:
        here, backbone = measured(run, labelled), backbone_of(run)
        whole = (*backbone, run.config.heads, run.config.temperature)  # untrained heads have a score too
        if whole not in floors:
            same = next((floor for key, floor in floors.items() if key[: len(backbone)] == backbone), None)
            floor = measured(untrained(run), None if same else labelled)
            floors[whole] = dataclasses.replace(floor, quality=same.quality) if same else floor
        found.append(Measured(run, here, floors[whole]))
    return Study(found, data, in_common, len(chosen), seed)


def backbone_of(run: Run) -> tuple[Any, ...]:
    """What the untrained backbone's features depend on: runs of the same have the same."""
    data = run.config.data
    return (run.config.backbone, data.image_size, data.mean, data.std)
