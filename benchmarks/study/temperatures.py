"""What a served model's temperatures say: of errors in retrieval, and of blur, crops and noise at equal similarity.

    python -m benchmarks.study.temperatures --data TINY [--bundle DIR] [--bank 20000]

TINY is a folder with train/ and test/, a folder a class below each. What temperatures say of errors in the verdict on
pairs is on the bundle's card (`pair_aurc_…`). Appends one object to `--results` and prints it as Markdown.

Retrieval: the answer to a query is the class of its nearest neighbour in the bank by the features' cosine. Each order
of the answers, from the surest to the least sure, has its area under the risk-coverage curve; lower is better.

Response: pairs of an image and itself degraded. A temperature that only mirrors the similarity has an excess of 0: its
mean less what other pairs of equal similarity have, by head, in reference pairs (two `abcde` views of one image, and
views of different images). A pair whose head's similarity lies beyond all of those, as that of an image with itself
does, has none to be compared with, and is left out there: `compared` is the share that is not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from amcl_serve.evaluation.views import views
from amcl_serve.hosting.opening import find_bundle
from amcl_serve.metrics.risk_coverage import area_under_risk_coverage
from amcl_serve.model.bundle import Bundle
from amcl_serve.model.encoder import Embeddings, Encoder
from amcl_serve.model.pair_scorer import PairScorer, PairScores
from benchmarks.study.budget import RESULTS, append, commit
from export.images import ImageSet, batches, folder_images, upright_rgb
from training.machine import cores

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

_BINS = 20  # of similarity, of equal numbers of reference pairs


def blurred(image: Pixels, sigma: float) -> Pixels:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def cropped(image: Pixels, share: float) -> Pixels:
    """The centre, of `share` of the area, at the image's size."""
    height, width = image.shape[:2]
    dx, dy = (side * (1 - share**0.5) / 2 for side in (width, height))
    box = (dx, dy, width - dx, height - dy)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, box=box))


def noisy(image: Pixels, sigma: float) -> Pixels:
    noise = np.random.default_rng(int(image.sum())).normal(0, 255 * sigma, image.shape)
    return (image + noise).round().clip(0, 255).astype(np.uint8)


DEGRADED: dict[str, tuple[Callable[[Pixels, float], Pixels], tuple[float, ...]]] = {
    "blur, sigma in pixels": (blurred, (0.5, 1.0, 2.0, 3.0)),
    "centre crop, share of the area": (cropped, (0.7, 0.5, 0.3, 0.15)),
    "noise, sigma of 1": (noisy, (0.02, 0.05, 0.1, 0.2)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, append, print; 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study.temperatures", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder with train/ and test/")
    parser.add_argument("--bundle", default="default", help="a bundle's folder, or the name of a shipped one")
    parser.add_argument("--bank", type=int, default=20_000, help="training images, evenly spaced")
    parser.add_argument("--pairs", type=int, default=1000, help="images degraded, and positive reference pairs")
    parser.add_argument("--results", type=Path, default=RESULTS / "temperature_study.jsonl", help="file of JSON lines")
    options = parser.parse_args(arguments)
    bundle = Bundle.open(find_bundle(options.bundle))
    if bundle.card.temperature.kind == "constant":
        print(f"{bundle.card.name} has a constant temperature: there is nothing to study", file=sys.stderr)
        return 2
    bank, queries = (folder_images(options.data / part) for part in ("train", "test"))
    study = Study(bundle)
    found = {"bundle": bundle.card.name, "digest": bundle.digest, "commit": commit()}
    found["retrieval"] = study.retrieval(bank, queries, options.bank)
    found["response"] = study.response(queries, options.pairs)
    append(options.results, found)
    print(render(found))
    return 0


class Study:
    """A bundle's encoder and scorer, and what is asked of them."""

    def __init__(self, bundle: Bundle) -> None:
        self.spec = bundle.card.input
        self.encoder = Encoder.load(bundle, session_threads=cores())
        self.scorer = PairScorer.load(bundle)

    def retrieval(self, bank: ImageSet, queries: ImageSet, count: int) -> dict[str, Any]:
        """Accuracy of the nearest neighbour, and the area under risk-coverage of each order."""
        assert bank.labels is not None
        assert queries.labels is not None
        chosen = np.linspace(0, len(bank) - 1, min(count, len(bank))).astype(int).tolist()
        found, asked = (self._embed(batches(*each)) for each in ((bank, self.spec, chosen), (queries, self.spec)))
        unit, other = (e.features / np.linalg.norm(e.features, axis=1, keepdims=True) for e in (asked, found))
        sim_NM = unit @ other.T
        nearest_N = sim_NM.argmax(axis=1)
        top_N2 = np.partition(sim_NM, -2, axis=1)[:, -2:]
        labels = np.asarray(bank.labels)[chosen]
        correct = labels[nearest_N] == np.asarray(queries.labels)
        scores = self.scorer.score(asked, Embeddings(found.features[nearest_N], found.heads[nearest_N]))
        assert scores.uncertainty is not None  # harmonic means of adaptive temperatures
        tau = np.asarray(scores.uncertainty, float)
        orders = {
            "cosine of the features": top_N2[:, 1],
            "margin to the second": top_N2[:, 1] - top_N2[:, 0],
            "pair score": scores.score,
            "agreement of the heads": -scores.head_similarity.std(axis=1),
            "low temperature": -tau,
            "cosine over temperature": top_N2[:, 1] / tau,
        }
        areas = {name: area_under_risk_coverage(order, correct) for name, order in orders.items()}
        return {"bank": len(chosen), "queries": len(queries), "accuracy": float(correct.mean()), "aurc": areas}

    def response(self, images: ImageSet, count: int) -> list[dict[str, Any]]:
        """Of each degradation: mean cosine of the heads, mean temperature, and its excess with the standard error."""
        chosen = np.random.default_rng(3).permutation(len(images))[:count].tolist()
        whole = [upright_rgb(images, index) for index in chosen]
        curve = expected_temperature(*self._reference(whole))
        original = self._embed([self._resized(whole)])
        rows = [self._row("itself", 0.0, self.scorer.score(original, original), curve)]
        for name, (degrade, strengths) in DEGRADED.items():
            for strength in strengths:
                other = self._embed([self._resized([degrade(image, strength) for image in whole])])
                rows.append(self._row(name, strength, self.scorer.score(original, other), curve))
        return rows

    def _reference(self, whole: Sequence[Pixels]) -> tuple[Floats, Floats]:
        """Similarities [P, C] and temperatures [P, C] of views of one image and of different ones."""
        pairs = [views(x, preset="abcde", size=self.spec.size, seed=1, epoch=0, index=i) for i, x in enumerate(whole)]
        first, second = (self._embed([np.stack([pair[side] for pair in pairs])]) for side in (0, 1))
        order = np.roll(np.arange(len(whole)), -1)
        both = [
            self.scorer.score(first, each) for each in (second, Embeddings(second.features[order], second.heads[order]))
        ]
        sim, tau = (
            np.concatenate([np.asarray(getattr(each, name), float) for each in both])
            for name in ("head_similarity", "temperature")
        )
        return sim, tau

    def _row(self, name: str, strength: float, scores: PairScores, curve: Callable[[Floats], Floats]) -> dict[str, Any]:
        tau = np.asarray(scores.temperature, float)
        excess = tau - curve(np.asarray(scores.head_similarity, float))
        row = {
            "degradation": name,
            "strength": strength,
            "similarity": float(scores.head_similarity.mean()),
            "temperature": float(tau.mean()),
            "compared": float(np.isfinite(excess).mean()),
            "excess": None,
            "excess_error": None,
        }
        if (within := np.isfinite(excess).any(axis=1)).sum() > 1:
            by_pair = np.nanmean(excess[within], axis=1)  # a pair's heads are no independent witnesses
            row |= {"excess": float(by_pair.mean()), "excess_error": float(by_pair.std() / len(by_pair) ** 0.5)}
        return row

    def _resized(self, images: Sequence[Pixels]) -> Pixels:
        size = (self.spec.size, self.spec.size)
        return np.stack([np.asarray(Image.fromarray(x).resize(size, Image.Resampling.BILINEAR)) for x in images])

    def _embed(self, blocks: Any) -> Embeddings:
        parts = [
            self.encoder.encode(block[start : start + 32]) for block in blocks for start in range(0, len(block), 32)
        ]
        return Embeddings(np.concatenate([p.features for p in parts]), np.concatenate([p.heads for p in parts]))


def expected_temperature(similarity: Floats, temperature: Floats) -> Callable[[Floats], Floats]:
    """The mean temperature of reference pairs, [P, C] and [P, C], at similarities [Q, C]: a function of each head's.

    Interpolated between the means of bins of equal numbers of pairs; NaN outside the first and the last of them.
    """
    knots = []
    for s, t in zip(similarity.T, temperature.T, strict=True):
        parts = np.array_split(np.argsort(s), _BINS)
        knots.append(([s[part].mean() for part in parts], [t[part].mean() for part in parts]))

    def expected(at: Floats) -> Floats:
        columns = zip(at.T, knots, strict=True)
        return np.stack([np.interp(s, *knot, left=np.nan, right=np.nan) for s, knot in columns], axis=1)

    return expected


def render(found: dict[str, Any]) -> str:
    """Markdown."""
    retrieval = found["retrieval"]
    lines = [
        f"Nearest neighbour of {retrieval['queries']} queries in a bank of {retrieval['bank']}: accuracy "
        f"{retrieval['accuracy']:.4f}",
        "",
        "| surest first by | area under risk–coverage |",
        "| --- | --- |",
        *(f"| {name} | {area:.4f} |" for name, area in sorted(retrieval["aurc"].items(), key=lambda item: item[1])),
        "",
        "| an image and itself with | | mean cosine of the heads | mean τ | excess of τ at equal similarity | of |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {row['degradation']} | {row['strength']:g} | {row['similarity']:.3f} | {row['temperature']:.4f} "
            f"| {_excess(row)} | {100 * row['compared']:.0f} % |"
            for row in found["response"]
        ),
    ]
    return "\n".join(lines)


def _excess(row: dict[str, Any]) -> str:
    return "–" if row["excess"] is None else f"{row['excess']:+.4f} ± {row['excess_error']:.4f}"


if __name__ == "__main__":
    sys.exit(main())
