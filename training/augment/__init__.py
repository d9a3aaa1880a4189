"""Two views of an image, for training. Kinds, as on the poster: a crop, b blur, c colour dropping, d colour distortion,
e flip.

What is done is decided by uniform numbers (`Augmentation.decide`); crop and flip happen where the image is
(`evaluation.views.crop`, or `crop_batch`); colours and blur happen for the whole batch, on the training device
(`photometric`).
Operations follow torchvision's definitions.
"""

from __future__ import annotations

from amcl_serve.evaluation.views.draw import DRAWS, PARAMETERS, Drawn
from amcl_serve.evaluation.views.strengths import Strengths
from training.augment.colour import photometric
from training.augment.crop import crop_batch
from training.augment.draw import Augmentation
from training.augment.strengths import strengths

__all__ = [
    "DRAWS",
    "PARAMETERS",
    "Augmentation",
    "Drawn",
    "Strengths",
    "crop_batch",
    "photometric",
    "strengths",
]
