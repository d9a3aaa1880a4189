"""Negative cosine with a temperature per pair (SimSiam, Chen & He 2021, Eq. 2; AMCL, the poster's third row).

Legend: C heads, N images; s similarity in [−1, 1], τ temperature, ~ the pair with its views swapped.

    ℓ = −½ s/τ − ½ s~/τ~ + βΩ(τ) + βΩ(τ~)
"""

from __future__ import annotations

from torch import Tensor

from training.objectives.contrastive import omega


def negative_cosine_loss(
    sim_CN: Tensor, swapped_CN: Tensor, tau: Tensor, swapped_tau: Tensor, *, beta: float = 0.0, eta: float = 1.0
) -> Tensor:
    """Negative cosine of both directions, a scalar, the mean over heads and images; τ = 1 is SimSiam.

    Args:
        sim_CN: similarity of view one's prediction and view two's projection, which carries no gradient.
        swapped_CN: the same with the views swapped.
        tau: temperatures [C, N], or a 0-d constant (Ω, which then has no gradient, is left out).
        swapped_tau: those of `swapped_CN`.
        beta: weight of Ω.
        eta: η of Ω; a pair's τ is at rest at (β − s/2) / (βη).

    Raises:
        ValueError: shapes that do not fit.

    >>> import torch
    >>> one = torch.tensor(1.0)
    >>> negative_cosine_loss(torch.tensor([[0.5]]), torch.tensor([[0.7]]), one, one).item()  # doctest: +ELLIPSIS
    -0.6...
    """
    total = sim_CN.new_zeros(())
    for sim, t in ((sim_CN, tau), (swapped_CN, swapped_tau)):
        if sim.dim() != 2 or sim.shape != sim_CN.shape or (t.dim() != 0 and t.shape != sim.shape):
            got = ", ".join(str(tuple(v.shape)) for v in (sim_CN, swapped_CN, tau, swapped_tau))
            raise ValueError(f"wanted similarities [C, N] and temperatures 0-d or [C, N]; got {got}")
        total = total - 0.5 * (sim / t).mean()
        if t.dim() and beta:
            total = total + beta * omega(t, eta).mean()
    return total
