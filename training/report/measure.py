"""What a report measures of one network: frozen features, and pairs of views.

Legend: P pairs, C heads, D dims of features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image

from amcl_serve.errors import AmclError
from amcl_serve.evaluation.geometry import alignment, effective_rank, uniformity
from amcl_serve.evaluation.head_score import head_score
from amcl_serve.evaluation.knn import knn_accuracy
from amcl_serve.evaluation.linear_probe import LinearProbe, linear_probe
from amcl_serve.evaluation.retrieval import Retrieval, retrieval
from amcl_serve.evaluation.separation import Separation, auroc, separation
from training.augment import views
from training.data import Labelled, Subset
from training.model.normalise import normalise
from training.report.runs import Run
from training.run import inference

PRESETS = ("a", "abc", "abcde")
KNN = (1, 5, 20, 200)
RECALL = (1, 5, 10)
KNN_TEMPERATURE = 0.1
_BATCH = 64
_BOOTSTRAP = 500

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Quality:
    """The backbone's features of labelled images, frozen."""

    knn: dict[int, float]  # k -> accuracy
    linear_probe: LinearProbe
    retrieval: Retrieval
    effective_rank: float  # RankMe of the queries' features
    uniformity: float  # of the queries' features
    bank: int  # images that could be read
    queries: int


@dataclass(frozen=True)
class PairScores:
    """Of P pairs: cosine of features [P], of each head [P, C], its temperature [P, C]."""

    feature: Floats
    heads: Floats
    temperature: Floats

    @property
    def score(self) -> Floats:
        """Temperature-scaled head similarity [P], in [−1, 1]."""
        return head_score(self.heads, self.temperature)

    @property
    def logit(self) -> Floats:
        """Mean over heads of s/τ [P], what the loss compares; its scale is the model's own."""
        return np.asarray((self.heads / self.temperature).mean(axis=1), dtype=np.float64)


@dataclass(frozen=True)
class Pairs:
    """One preset: as many positive pairs (two views of an image) as negative ones (views of two images)."""

    positive: PairScores
    negative: PairScores
    alignment: float  # of the features of positive pairs

    def auroc_interval(self, name: str, seed: int) -> tuple[float, float]:
        """95 % interval of the AUROC of `name`: percentiles over draws of the images with replacement."""
        positive, negative = getattr(self.positive, name), getattr(self.negative, name)
        rng = np.random.default_rng(seed)
        draws = rng.integers(0, len(positive), (_BOOTSTRAP, len(positive)))
        low, high = np.percentile([auroc(positive[drawn], negative[drawn]) for drawn in draws], [2.5, 97.5])
        return float(low), float(high)

    def separations(self) -> dict[str, Separation]:
        """Of head score, logit and feature cosine."""
        return {
            name: separation(getattr(self.positive, name), getattr(self.negative, name))
            for name in ("score", "logit", "feature")
        }


def measure_features(run: Run, labelled: Labelled, seed: int) -> Quality:
    """kNN, linear probe, retrieval and geometry of the run's features of `labelled`; ValueError if they are unfit."""
    (bank, bank_read), (queries, query_read) = (
        inference.features(run.model.backbone, part, run.config, run.device)
        for part in (labelled.bank, labelled.queries)
    )
    bank, queries = bank[bank_read], queries[query_read]
    data = (bank, labelled.bank.labels[bank_read], queries, labelled.queries.labels[query_read])
    return Quality(
        knn=knn_accuracy(*data, k=[k for k in KNN if k <= len(bank)], temperature=KNN_TEMPERATURE),
        linear_probe=linear_probe(*data, seed=seed),
        retrieval=retrieval(*data, k=[k for k in RECALL if k <= len(bank)]),
        effective_rank=effective_rank(queries),
        uniformity=uniformity(queries),
        bank=len(bank),
        queries=len(queries),
    )


def pair_images(queries: Subset, count: int, seed: int) -> list[int]:
    """Numbers of `count` readable query images (fewer where there are fewer), drawn by `seed`."""
    chosen: list[int] = []
    for index in np.random.default_rng(seed).permutation(queries.indices):
        if len(chosen) == count:
            break
        try:
            queries.images.load(int(index))
        except (OSError, AmclError):
            continue
        chosen.append(int(index))
    if len(chosen) < 2:
        raise ValueError("pairs need at least two images that can be read")
    return chosen


def measure_pairs(run: Run, queries: Subset, chosen: list[int], preset: str, seed: int) -> Pairs:
    """Scores of pairs of augmented views of the images `chosen`.

    A positive pair is both views of one image, a negative one the first view of an image and the second of the next in
    the order of `chosen`. Views are functions of (seed, image): every run sees the same, at its own size.
    """
    features, heads = [], []
    for pixels in _views(queries, chosen, preset, run.config.data.image_size, seed):
        with torch.inference_mode():
            x = torch.from_numpy(pixels).to(run.device).permute(0, 3, 1, 2).float().div_(255)
            feature, head = run.model(normalise(x, run.config.data))
        features.append(feature.float())
        heads.append(F.normalize(head.float(), dim=-1))
    feature_ND, head_NCK = torch.cat(features), torch.cat(heads)  # rows 2p and 2p + 1 are the views of one image
    first, second, head_first, head_second = feature_ND[0::2], feature_ND[1::2], head_NCK[0::2], head_NCK[1::2]
    return Pairs(
        _scores(run, first, second, head_first, head_second),
        _scores(run, first, second.roll(-1, 0), head_first, head_second.roll(-1, 0)),
        alignment(first.cpu().numpy(), second.cpu().numpy()),
    )


def head_agreement(scores: PairScores) -> Floats:
    """Pearson correlation [C, C] between the heads' similarities over pairs; NaN for a head that is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.atleast_2d(np.corrcoef(scores.heads, rowvar=False))


def _views(queries: Subset, chosen: list[int], preset: str, size: int, seed: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Batches uint8 [2n, S, S, 3]: first and second view of an image, then those of the next."""
    for start in range(0, len(chosen), _BATCH):
        block = [
            views(_pixels(queries.images.load(index)), preset=preset, size=size, seed=seed, epoch=0, index=index)
            for index in chosen[start : start + _BATCH]
        ]
        yield np.concatenate(block)


def _pixels(image: Image.Image) -> npt.NDArray[np.uint8]:
    return np.asarray(image)


@torch.inference_mode()
def _scores(
    run: Run, first_PD: torch.Tensor, second_PD: torch.Tensor, head_PCK: torch.Tensor, other_PCK: torch.Tensor
) -> PairScores:
    parts = (
        F.cosine_similarity(first_PD, second_PD),
        (head_PCK * other_PCK).sum(-1),
        run.model.temperature(head_PCK, other_PCK),
    )
    feature, heads, temperature = (part.double().cpu().numpy() for part in parts)
    return PairScores(feature.clip(-1, 1), heads.clip(-1, 1), temperature)
