"""Pairs of augmented views, and what a network says of them.

Legend: P pairs, C heads, D dims of features.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from amcl_serve.evaluation.views import views
from amcl_serve.metrics.bootstrap import Ring, interval
from amcl_serve.metrics.geometry import alignment
from amcl_serve.metrics.head_score import head_score
from amcl_serve.metrics.operating import Scores
from amcl_serve.metrics.separation import Separation, separation
from training.config import Config
from training.data import Subset, leave_signals_to_the_parent, read
from training.judging import inference
from training.machine.precision import mixed_precision
from training.model.model import AmclModel
from training.model.normalise import normalise

_BATCH = 192  # views in a step of the network

Floats = npt.NDArray[np.float64]


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
        """95 % interval of the AUROC of `name` over draws of images, as negative pairs share them in a ring."""
        positive, negative = getattr(self.positive, name), getattr(self.negative, name)
        scores = Scores(np.concatenate([positive, negative]), np.arange(2 * len(positive)) < len(positive))
        return interval(lambda counts: scores.curve(np.tile(counts, 2)).area, Ring(len(positive)), seed)

    def separations(self) -> dict[str, Separation]:
        """Of head score, logit and feature cosine."""
        return {
            name: separation(getattr(self.positive, name), getattr(self.negative, name))
            for name in ("score", "logit", "feature")
        }


@torch.inference_mode()
def measure_pairs(
    model: AmclModel, subset: Subset, presets: Sequence[str], config: Config, device: torch.device, *, seed: int
) -> Mapping[str, Pairs]:
    """Scores of pairs of augmented views of the subset's images, under each of the presets; each image is read once.

    A positive pair is both views of one image, a negative one the first view of an image and the second of the next in
    the subset's order. Views are functions of (seed, image): every network sees the same, at its own size. Images that
    cannot be read are left out; ValueError where fewer than two are left. The model keeps the mode it was in.
    """
    with inference.evaluating(model):
        embedded = list(_embed(model, _Views(subset, presets, config.data.image_size, seed), config, device))
        if sum(len(feature) for feature, _ in embedded) < 2:
            raise ValueError("pairs need at least two images that can be read")
        feature_NVD, head_NVCK = (torch.cat(parts) for parts in zip(*embedded, strict=True))
        return {
            preset: _pairs(model, feature_NVD[:, start : start + 2], head_NVCK[:, start : start + 2])
            for start, preset in zip(range(0, 2 * len(presets), 2), presets, strict=True)
        }


def _pairs(model: AmclModel, feature_N2D: Tensor, head_N2CK: Tensor) -> Pairs:
    (first, second), (head_first, head_second) = feature_N2D.unbind(1), head_N2CK.unbind(1)
    return Pairs(
        _scores(model, first, second, head_first, head_second),
        _scores(model, first, second.roll(-1, 0), head_first, head_second.roll(-1, 0)),
        alignment(first.cpu().numpy(), second.cpu().numpy()),
    )


class _Views(Dataset[tuple[Tensor, bool]]):
    """Two views by each preset of each image, uint8 [2 · presets, S, S, 3], and whether it could be read."""

    def __init__(self, subset: Subset, presets: Sequence[str], size: int, seed: int) -> None:
        self.subset, self.presets, self.size, self.seed = subset, presets, size, seed

    def __len__(self) -> int:
        return len(self.subset.indices)

    def __getitem__(self, position: int) -> tuple[Tensor, bool]:
        index, size = int(self.subset.indices[position]), self.size
        image = read(self.subset.reader, index)
        if image is None:
            return torch.zeros(2 * len(self.presets), size, size, 3, dtype=torch.uint8), False
        pixels = np.asarray(image)
        both = [views(pixels, preset=p, size=size, seed=self.seed, epoch=0, index=index) for p in self.presets]
        return torch.from_numpy(np.concatenate(both)), True


def _embed(model: AmclModel, images: _Views, config: Config, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of features [n, V, D] and unit heads [n, V, C, K] of the V views of the images that can be read."""
    loader: Iterable[tuple[Tensor, Tensor]] = DataLoader(
        images,
        batch_size=max(1, _BATCH // (2 * len(images.presets))),
        num_workers=config.data.workers,
        worker_init_fn=leave_signals_to_the_parent,
    )
    for pixels, good in loader:
        x_NVSS3 = pixels[good]
        if len(x_NVSS3):
            x = x_NVSS3.flatten(0, 1).to(device).permute(0, 3, 1, 2).float().div_(255)
            with mixed_precision(device, config.train):
                feature, head = model(normalise(x, config.data))
            heads = F.normalize(head.float(), dim=-1)
            shape = x_NVSS3.shape[:2]
            yield feature.float().reshape(*shape, -1), heads.reshape(*shape, *heads.shape[1:])


def _scores(model: AmclModel, first_PD: Tensor, second_PD: Tensor, head_PCK: Tensor, other_PCK: Tensor) -> PairScores:
    parts = (
        F.cosine_similarity(first_PD, second_PD),
        (head_PCK * other_PCK).sum(-1),
        model.temperature(head_PCK, other_PCK),
    )
    feature, heads, temperature = (part.double().cpu().numpy() for part in parts)
    return PairScores(feature.clip(-1, 1), heads.clip(-1, 1), temperature)
