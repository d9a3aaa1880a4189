"""What a run's configuration does to the views of a batch of images."""

from __future__ import annotations

from dataclasses import dataclass

from amcl_serve.evaluation.views import draw
from amcl_serve.evaluation.views.draw import Drawn, Floats
from training.augment.strengths import strengths
from training.config import AugmentConfig


@dataclass(frozen=True)
class Augmentation:
    """What `config` does to the views of an image, which are `size` pixels a side; `early_size` before `grown`."""

    config: AugmentConfig
    size: int
    early_size: int = 0
    grown: int = 0  # the first step at `size`

    def size_at(self, step: int) -> int:
        """Pixels a side of the views of a step."""
        return self.early_size if step < self.grown else self.size

    def decide(self, u_VBU: Floats, widths_B: Floats, heights_B: Floats) -> Drawn:
        """What to do, from uniform numbers [V, B, DRAWS] and the images' sizes in pixels; first views come first."""
        return draw.decide(u_VBU, widths_B, heights_B, strengths(self.config))
