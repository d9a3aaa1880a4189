"""Which patches a masked encoder sees."""

from __future__ import annotations

import torch
from torch import Tensor

from training.machine import distributed


def random_keep(count: int, num_patches: int, ratio: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Hide a random `ratio` of each image's patches (MAE, Sec. 3; every choice is equally likely).

    Returns (keep, hidden), on the generator's device: keep int64 [count, K] names the patches that are seen, in
    ascending order, K = P − round(ratio · P) and at least 1; hidden bool [count, P] is true for the others. One draw
    serves all images, so that a process may draw for all of a batch and use its own rows.
    """
    kept = max(1, num_patches - round(ratio * num_patches))
    noise = torch.rand(count, num_patches, generator=generator, device=generator.device)
    keep = noise.argsort(dim=1)[:, :kept].sort(dim=1).values
    hidden = torch.ones(count, num_patches, dtype=torch.bool, device=generator.device)
    return keep, hidden.scatter_(1, keep, False)


def draw_masks(views: int, num_patches: int, ratio: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`random_keep` of this process's N = 2B `views`, out of a draw for those of all processes: [N, K] and [N, P]."""
    images = views // 2 * distributed.world_size()
    keep, hidden = random_keep(2 * images, num_patches, ratio, generator)
    return distributed.local_rows(keep.view(2, images, -1)), distributed.local_rows(hidden.view(2, images, -1))
