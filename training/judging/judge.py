"""What a run is worth in its course: kNN where images are labelled, and figures that need no labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from amcl_serve.metrics.label_free import LEAST_IMAGES, PRESETS, LabelFree
from training import data
from training.augment import Augmentation
from training.config import AugmentConfig, Config
from training.data import Cache, HeldOut, Images, Subset
from training.judging import inference
from training.judging.label_free import in_words, label_free
from training.judging.pairs import measure_pairs
from training.model.model import AmclModel, untrained

IMAGES, PAIRS = 1024, 256  # at most: for RankMe and its like, and of them in pairs, which are twelve views each


@dataclass(frozen=True)
class Verdict:
    """Figures for the journal, and the same in words."""

    numbers: dict[str, float]
    text: str
    broken: int  # images that could not be read


class Judge:
    """Judges networks of one config by the images that `config.data.eval_spec` names.

    Photographs are read as training reads them: reduced unless `config.data.reduce` forbids it, and kept in `cache`.
    ValueError when there are no images, or too few.
    """

    def __init__(self, config: Config, trained: Images, cache: Cache | None = None) -> None:
        self.config, self._cache = config, cache
        self.held_out = data.open_held_out(config.data.eval_spec, bank_limit=config.eval.bank_limit)
        self._floor: LabelFree | None = None
        count = len(self.held_out.images.indices)
        self._count = min(IMAGES, count)
        if count < LEAST_IMAGES and self.held_out.labelled is None:
            raise ValueError(
                f"{config.data.eval_spec} holds {count} images without labels; judging without labels "
                f"needs {LEAST_IMAGES} or more"
            )
        self._in_common = data.shared(trained, self.held_out.images.spaced(IMAGES))

    @property
    def warnings(self) -> list[str]:
        """What is to be known of the images before any figure."""
        found = [f"no kNN: {self.held_out.note}"] if self.held_out.note else []
        if self._in_common:
            found.append(
                f"{self._in_common} of the {self._count} images that judge the run are among those it learns from, so "
                "its figures flatter it: keep some images apart, and give those to --eval"
            )
        return found

    @cached_property
    def _as_read(self) -> HeldOut:
        """Found out at the first verdict, before which no cache is made."""
        if self.config.data.reduce != "auto":
            return self.held_out
        largest = Augmentation(AugmentConfig(kinds=PRESETS[-1]), self.config.data.image_size)
        return self.held_out.reduced(largest, self._cache)

    def __call__(self, model: AmclModel, device: torch.device) -> Verdict:
        """ValueError when features are no numbers, or too few images can be read."""
        numbers: dict[str, float] = {}
        texts: list[str] = []
        held_out = self._as_read
        if held_out.labelled is None:
            chosen = held_out.images.spaced(IMAGES)
            features, read = inference.features(model.backbone, chosen, self.config, device)
            features, indices, broken = features[read], chosen.indices[read], int((~read).sum())
        else:
            found = inference.knn(model.backbone, held_out.labelled, self.config, device)
            numbers |= {"knn": found.accuracy, "k": found.k}
            texts.append(f"kNN {found.accuracy:.4f} (k={found.k}, cosine, exp(s/0.1))")
            rows = np.linspace(0, len(found.indices) - 1, min(IMAGES, len(found.indices))).round().astype(np.int64)
            features, indices, broken = found.queries[rows], found.indices[rows], found.broken
            if len(rows) < LEAST_IMAGES:
                return Verdict(numbers, texts[0], broken)
        judged = held_out.images.of(indices)
        here, floor = self._figures(model, features, judged, device), self._untrained(judged, device)
        numbers |= {f"label_free/{name}": value for name, value in here.numbers().items()}
        numbers |= {f"untrained/{name}": value for name, value in floor.numbers().items()}
        return Verdict(numbers, "; ".join([*texts, in_words(here, floor)]), broken)

    def _figures(
        self, model: AmclModel, features: npt.NDArray[np.float32], judged: Subset, device: torch.device
    ) -> LabelFree:
        chosen = judged.indices[np.random.default_rng(0).permutation(len(judged.indices))[:PAIRS]]
        pairs = measure_pairs(model, judged.of(chosen), PRESETS, self.config, device, seed=0)
        return label_free(features, pairs)

    def _untrained(self, judged: Subset, device: torch.device) -> LabelFree:
        """The network before training, which is measured once."""
        if self._floor is None:
            model = untrained(self.config).to(device)
            features, read = inference.features(model.backbone, judged, self.config, device)
            self._floor = self._figures(model, features[read], judged, device)
        return self._floor
