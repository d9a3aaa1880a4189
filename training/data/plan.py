"""Which images a step sees and which uniform numbers decide about their views: functions of (seed, step) alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from amcl_serve.evaluation.views.draw import DRAWS, Floats
from training.data.sources import Images, Numbers, Ordered

_ORDER, _DRAWS = 1, 2  # streams of random numbers apart from each other


def generator(seed: int, stream: int, number: int) -> np.random.Generator:
    """Random numbers of one epoch or one step, from a counter-based generator that can begin anywhere."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, stream, 0, number]))


@dataclass
class Plan:
    """Of one process among `world_size`, each of which has its share of the rows of every global batch."""

    images: Images
    batch_size: int
    seed: int
    rank: int = 0
    world_size: int = 1
    _epoch: int = field(default=-1, init=False)
    _order: Numbers = field(default_factory=lambda: np.empty(0, np.int64), init=False)

    def __post_init__(self) -> None:
        assert len(self.images) >= self.batch_size
        assert self.batch_size % self.world_size == 0

    @property
    def share(self) -> slice:
        """This process's rows of a global batch."""
        b = self.batch_size // self.world_size
        return slice(self.rank * b, (self.rank + 1) * b)

    def indices(self, step: int) -> Numbers:
        """Numbers [b] of this process's images; an epoch shows each image once and leaves out the rest of a batch."""
        epoch, position = divmod(step, len(self.images) // self.batch_size)
        if epoch != self._epoch:
            random = generator(self.seed, _ORDER, epoch)
            images = self.images
            order = images.order(random) if isinstance(images, Ordered) else random.permutation(len(images))
            self._epoch, self._order = epoch, order
        return self._order[position * self.batch_size :][self.share]

    def uniforms(self, step: int) -> Floats:
        """Numbers [2, b, DRAWS] for this process's views; drawn for the global batch, so processes do not matter."""
        return generator(self.seed, _DRAWS, step).random((2, self.batch_size, DRAWS))[:, self.share]
