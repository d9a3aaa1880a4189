"""How strongly a run's views are augmented: by the poster's kinds a to e, or by the set a framework published."""

from __future__ import annotations

from dataclasses import replace

from amcl_serve.evaluation.views.strengths import Strengths, by_letters
from training.config import PUBLISHED_AUGMENTATIONS, AugmentConfig


def strengths(config: AugmentConfig) -> tuple[Strengths, Strengths]:
    """Of the first and of the second view. A published set ignores `crop_min_scale` and `jitter_strength`.

    - simclr, can: SimCLR's appendix A (Chen et al. 2020, arXiv 2002.05709) at strength 1; CAN (Mishra et al. 2022,
      arXiv 2210.16870) takes SimCLR's.
    - moco, simsiam: MoCo v2's (Chen et al. 2020, arXiv 2003.04297; SimSiam, arXiv 2011.10566, section 3).
    - barlow_twins: Zbontar et al. 2021 (arXiv 2103.03230), section 2.2, which is BYOL's (arXiv 2006.07733, table 6):
      the second view is rarely blurred and sometimes solarised.
    - lgp: MoCo v3's for ViT (arXiv 2104.02057 with its public code), which Layer Grafted Pre-training
      (arXiv 2302.14138) keeps: as Barlow Twins', with a crop of at least 0.2.
    """
    if config.kinds not in PUBLISHED_AUGMENTATIONS:
        both = by_letters(config.kinds, config.crop_min_scale, config.jitter_strength)
        return both, both
    if config.kinds in ("barlow_twins", "lgp"):
        crop = 0.2 if config.kinds == "lgp" else 0.08
        first = Strengths(crop, 0.5, (0.4, 0.4, 0.2, 0.1), 0.8, 0.2, 1.0)
        return first, replace(first, blur_p=0.1, solarise_p=0.2)
    if config.kinds in ("simclr", "can"):
        both = Strengths(0.08, 0.5, (0.8, 0.8, 0.8, 0.2), 0.8, 0.2, 0.5)
    else:
        both = Strengths(0.2, 0.5, (0.4, 0.4, 0.4, 0.1), 0.8, 0.2, 0.5)
    return both, both
