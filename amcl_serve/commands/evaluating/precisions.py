"""Whether what is served is what was exported: the same images at each precision of a bundle, and over HTTP."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from amcl_serve.errors import AmclError
from amcl_serve.evaluation.dataset import Dataset
from amcl_serve.evaluation.embedder import Embedded, Embedder
from amcl_serve.evaluation.result import Figure, Section, Table
from amcl_serve.model.bundle import PRECISIONS, Bundle
from amcl_serve.model.encoder import Encoder, unit_norm
from amcl_serve.model.pixels import decode
from amcl_serve.settings import Settings

SAMPLE = 64  # images
RESAMPLES = 1000
TITLE = "Served equals offline"

Rows = npt.NDArray[np.float32]  # features [N, D]


def served_equals_offline(
    dataset: Dataset, embedder: Embedder, bundle: Bundle | None, settings: Settings, *, seed: int
) -> Section:
    """Cosines of features between what `embedder` answers and each precision of its bundle, run here on the CPU.

    On SAMPLE images, drawn by `seed`. Without the bundle of the embedder's digest there is nothing to compare.
    """
    if bundle is None or bundle.digest != embedder.about.digest:
        return Section(
            "served", TITLE, missing=f"the bundle {embedder.about.name} of the server's digest is not on this machine"
        )
    images, served = _sample(dataset, embedder, seed)
    if not images:
        return Section("served", TITLE, missing="no image of the sample could be embedded")
    pixels = np.stack(
        [
            decode(data, bundle.card.input, max_pixels=settings.max_pixels, accept_truncated=settings.accept_truncated)
            for data in images
        ]
    )
    offline: dict[str, Rows] = {
        precision: Encoder.load(bundle, precision=precision, session_threads=1).encode(pixels).features
        for precision in PRECISIONS
        if precision in bundle.precisions
    }
    reference, (best, *others) = next(iter(offline.values())), offline
    about = embedder.about
    found = [
        (
            f"served_cosine_{about.precision}_{about.through.replace(' ', '_').lower()}",
            f"answered {about.through} ({about.precision}) against {about.precision} offline",
            _cosine(served, offline.get(about.precision, reference)),
        )
    ]
    found += [
        (f"served_cosine_{each}", f"{each} against {best}, both offline", _cosine(offline[each], reference))
        for each in others
    ]
    return Section(
        "served",
        TITLE,
        figures=[_figure(name, title, cosines, seed) for name, title, cosines in found],
        tables=[_table(found)],
        notes=[] if others else [f"The bundle has one precision, {best}: there is no other to compare it with."],
    )


def _sample(dataset: Dataset, embedder: Embedder, seed: int) -> tuple[list[bytes], Rows]:
    """Files that could be embedded and their features."""
    count = len(dataset.names)
    drawn = np.random.default_rng(seed).choice(count, min(SAMPLE, count), replace=False)
    files = []
    for place in sorted(drawn.tolist()):
        try:
            files.append(dataset.read(place))
        except AmclError:  # health of the data has it
            continue
    answers = embedder.embed(files) if files else []
    good = [(file, item.features) for file, item in zip(files, answers, strict=True) if isinstance(item, Embedded)]
    return [file for file, _ in good], np.array([row for _, row in good], np.float32)


def _cosine(a: Rows, b: Rows) -> npt.NDArray[np.float64]:
    cosines: npt.NDArray[np.float64] = (unit_norm(a) * unit_norm(b)).sum(axis=1).clip(-1, 1)
    return cosines


def _figure(name: str, title: str, cosines: npt.NDArray[np.float64], seed: int) -> Figure:
    drawn = np.random.default_rng(seed).integers(0, len(cosines), (RESAMPLES, len(cosines)))
    low, high = np.quantile(cosines[drawn].mean(axis=1), [0.025, 0.975])
    return Figure(
        name,
        f"Cosine: {title}",
        float(cosines.mean()),
        len(cosines),
        f"mean cosine of the features of the same images, {title}; bootstrap over images",
        float(low),
        float(high),
    )


def _table(found: Sequence[tuple[str, str, npt.NDArray[np.float64]]]) -> Table:
    rows: list[list[str | float]] = [
        [title, float(cosines.mean()), float(np.quantile(cosines, 0.01)), float(cosines.min())]
        for _, title, cosines in found
    ]
    return Table("Cosines of features", ("compared", "mean", "1st percentile", "lowest"), rows)
