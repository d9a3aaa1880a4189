"""Cross-correlation with a temperature per pair of channels (Barlow Twins, Zbontar et al. 2021, Eq. 1 and 2; AMCL).

Legend: C heads, N images, D channels of a head (d'); C_lm correlation in [−1, 1], τ temperature.

    ℓ = Σ_l (1 − C_ll/τ_ll)² + λ Σ_{l≠m} C_lm²/τ_lm + β Σ_l Ω(τ_ll) + R
    R = −β Σ_{l≠m} Ω(τ_lm)     "printed": the poster's row
    R = λβ Σ_{l≠m} Ω(τ_lm)     "likelihood": ours, the default

Why not as printed. λC²/τ − βΩ(τ) = (λC² − β)/τ − βη log τ has a greatest value, at τ = (β − λC²)/(βη), and no least one
inside the bounds: every τ_lm runs to a bound. And the term weighs 1/λ = 200 times the loss term it belongs to, over
d'² pairs against d' on the diagonal. With weight λ and a plus sign it is what it is in the derivation, the negative
log-likelihood of a correlation with mean 0 and variance of the order of τ: C²/τ + βΩ(τ) is least at τ = (β + C²)/(βη),
inside the bounds, and that least value still grows with C². (A small MLP on noisy mixtures, d' = 32, β = η = 1, bounds
0.5 and 2, 400 steps: standard and "likelihood" end at a mean C_ll of 0.97 and 0.96 and root mean square C_lm of 0.07;
"printed" at 0.49 and 0.15, every τ at 0.5.)

η = 1 is the value at which the standard method's solution (C_ll = 1, C_lm = 0) with τ = 1 everywhere is a minimum of
both terms: the diagonal's is at C_ll = τ_ll = 1/η.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from training.machine.precision import full_precision
from training.objectives.contrastive import omega

Regulariser = Literal["likelihood", "printed"]


def correlation(a_NCD: Tensor, b_NCD: Tensor, *, eps: float = 1e-5) -> Tensor:
    """Correlation over the batch of every two channels of two views, by head: [C, D, D], float32 at least.

    Each channel is less its mean and divided by √(variance + eps), the variance biased, as published (a batch norm
    without affine). In a distributed run the rows are those of all processes, gathered.

    Raises:
        ValueError: shapes that differ or have not three axes.

    >>> a = torch.tensor([[[1.0]], [[-1.0]]])
    >>> correlation(a, -a).item()  # doctest: +ELLIPSIS
    -0.9999...
    """
    if a_NCD.dim() != 3 or a_NCD.shape != b_NCD.shape:
        raise ValueError(f"wanted two [N, C, D]; got {tuple(a_NCD.shape)} and {tuple(b_NCD.shape)}")
    with full_precision(a_NCD.device):
        a_CDN, b_CND = _standardised(a_NCD, eps).permute(1, 2, 0), _standardised(b_NCD, eps).transpose(0, 1)
        return a_CDN @ b_CND / len(a_NCD)


def _standardised(z_NCD: Tensor, eps: float) -> Tensor:
    z_NCD = z_NCD.to(torch.promote_types(z_NCD.dtype, torch.float32))
    variance, mean = torch.var_mean(z_NCD, dim=0, correction=0)
    return (z_NCD - mean) * (variance + eps).rsqrt()


def cross_correlation_loss(
    corr_CDD: Tensor,
    tau: Tensor,
    *,
    redundancy: float,
    beta: float = 0.0,
    eta: float = 1.0,
    regulariser: Regulariser = "likelihood",
) -> Tensor:
    """Distance of the correlations from the identity, a scalar, the mean over heads; τ = 1 is Barlow Twins.

    Args:
        corr_CDD: correlations of channels.
        tau: temperatures [C, D, D], or a 0-d constant (Ω, which then has no gradient, is left out).
        redundancy: λ, the weight of the off-diagonal.
        beta: weight of Ω.
        eta: η of Ω.
        regulariser: how Ω of the off-diagonal enters; see the module's docstring.

    Raises:
        ValueError: shapes that do not fit, or an unknown `regulariser`.

    >>> cross_correlation_loss(torch.tensor([[[0.5, 0.1], [0.1, 1.0]]]), torch.tensor(1.0), redundancy=5e-3).item()
    ... # doctest: +ELLIPSIS
    0.2500...
    """
    if corr_CDD.dim() != 3 or corr_CDD.shape[1] != corr_CDD.shape[2] or tau.shape not in ((), corr_CDD.shape):
        raise ValueError(f"wanted corr [C, D, D], tau 0-d or the same; got {tuple(corr_CDD.shape)}, {tuple(tau.shape)}")
    if regulariser not in ("likelihood", "printed"):
        raise ValueError(f"regulariser={regulariser!r} is neither likelihood nor printed")
    adaptive = bool(tau.dim() and beta)
    corr_CD = corr_CDD.diagonal(dim1=1, dim2=2)
    tau_CD = tau.diagonal(dim1=1, dim2=2) if tau.dim() else tau
    on_CD = (1 - corr_CD / tau_CD).square()
    off_CDD = redundancy * corr_CDD.square() / tau
    if adaptive:
        on_CD = on_CD + beta * omega(tau_CD, eta)
        weight = redundancy * beta if regulariser == "likelihood" else -beta
        off_CDD = off_CDD + weight * omega(tau, eta)
    diagonal_DD = torch.eye(corr_CDD.shape[1], dtype=torch.bool, device=corr_CDD.device)
    return on_CD.sum(1).mean() + off_CDD.masked_fill(diagonal_DD, 0).sum((1, 2)).mean()
