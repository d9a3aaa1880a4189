"""The one runner: a dataset and an embedder in, a result out."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter
from typing import Protocol as Shape

from amcl_serve import __version__
from amcl_serve.errors import InvalidRequest
from amcl_serve.evaluation.dataset import Dataset
from amcl_serve.evaluation.embedder import Embedder
from amcl_serve.evaluation.progress import Progress
from amcl_serve.evaluation.protocols.look import Look, look
from amcl_serve.evaluation.protocols.parts.against import against as beside
from amcl_serve.evaluation.protocols.parts.part import Part
from amcl_serve.evaluation.result import Figure, Result, Section, Table


class Protocol(Shape):
    """What is to be measured; `amcl_serve.evaluation.protocols` has them."""

    @property
    def name(self) -> str:
        """As a result names it."""

    @property
    def title(self) -> str:
        """For people."""

    @property
    def least(self) -> int:
        """Images that must be readable."""

    @property
    def seed(self) -> int:
        """Of all that is drawn."""

    @property
    def limit(self) -> int:
        """Images looked at; 0 for all."""

    def measure(self, look: Look, progress: Progress) -> list[list[Part]]:
        """The parts of the report, by model of the look."""


def run(
    dataset: Dataset, embedder: Embedder, protocol: Protocol, progress: Progress, *, against: Embedder | None = None
) -> Result:
    """Measure what `embedder` is worth on the dataset, beside `against` if given.

    Images are read and embedded a bounded batch at a time, and views of them again; nothing but vectors is held. Images
    that cannot be read are named and left out. Raises Cancelled as soon as `progress` does, InvalidRequest where too
    few images can be read, and what the embedder raises where it fails.
    """
    begun, started = perf_counter(), datetime.now(UTC)
    embedders = [embedder] if against is None else [embedder, against]
    seen = look(dataset, embedders, progress, limit=protocol.limit)
    _refuse_few(seen, protocol)
    measuring = perf_counter()
    parts, *others = protocol.measure(seen, progress)
    drawing = perf_counter()
    seen.seconds["views, pairs and figures"] = drawing - measuring
    sections = []
    for done, part in enumerate(parts):
        progress("intervals", done, len(parts))
        sections.append(part.section(protocol.seed))
    if others:
        sections.append(beside(seen, parts, others[0], protocol.seed).section(protocol.seed))
    progress("intervals", len(parts), len(parts))
    seen.seconds["intervals"] = perf_counter() - drawing
    seconds = perf_counter() - begun
    sections.append(_cost(seen, seconds))
    return Result(
        protocol=protocol.name,
        title=f"{embedder.about.name} on {dataset.name}",
        provenance=_provenance(seen, embedders, protocol),
        sections=sections,
        seconds=seconds,
        started=started.isoformat(timespec="seconds"),
    )


def _refuse_few(seen: Look, protocol: Protocol) -> None:
    readable = len(seen.held_out)
    if readable >= protocol.least:
        return
    why = f"; {seen.problems[0][0]}: {seen.problems[0][1]}" if seen.problems else ""
    raise InvalidRequest(
        f"{seen.dataset.name}: an evaluation needs {protocol.least} images or more that can be read; there are "
        f"{readable} of {seen.asked}{why}"
    )


def _provenance(seen: Look, embedders: Sequence[Embedder], protocol: Protocol) -> dict[str, str | int | float]:
    found: dict[str, str | int | float] = {}
    for prefix, each in zip(("model", "against"), embedders, strict=False):
        about = each.about
        found |= {
            prefix: about.name,
            f"{prefix} digest": about.digest,
            f"{prefix} precision": about.precision,
            f"{prefix} provider": about.provider,
            f"{prefix} preprocessing": about.preprocessing,
            f"{prefix} input size": about.size,
            f"{prefix} through": about.through,
        }
    found |= {
        "data": seen.dataset.name,
        "data hash": f"sha256:{seen.data_hash}",
        "images": seen.asked,
        "images read": len(seen),
        "protocol": repr(protocol),
        "seed": protocol.seed,
        "amcl-serve": __version__,
        "Python": platform.python_version(),
    }
    for package in ("numpy", "pillow", "faiss-cpu", "scipy", "onnxruntime"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _cost(seen: Look, seconds: float) -> Section:
    embedding = seen.seconds["embedding"]
    rate = len(seen) / embedding if embedding > 0 else None
    said = "images a second through the embedder, unaugmented ones, reading apart; of this machine at this hour"
    rows: list[list[str | float | int | None]] = [[stage, round(spent, 3)] for stage, spent in seen.seconds.items()]
    rows.append(["all", round(seconds, 3)])
    return Section(
        "cost",
        "Cost",
        figures=[Figure("images_per_second", "Images a second", rate, len(seen), said)],
        tables=[Table("Seconds", ("stage", "seconds"), rows)],
    )
