"""Reconstruction of hidden patches (MAE, He et al. 2022; LGP's first stage, CAN) and of noise (CAN, Mishra 2022).

Legend: N images of side S, P patches of an image, K = patch² · 3 numbers of a patch.
"""

from __future__ import annotations

import torch
from torch import Tensor


def masked_reconstruction_loss(
    predicted_NPK: Tensor, target_NPK: Tensor, hidden_NP: Tensor, *, normalised: bool, eps: float = 1e-6
) -> Tensor:
    """Mean squared error on hidden patches, a scalar in float32 at least; 0 where nothing is hidden (MAE, Sec. 3).

    Args:
        predicted_NPK: the decoder's output.
        target_NPK: pixels, before any noise.
        hidden_NP: True where the encoder did not see the patch. In a distributed run every process hides as many.
        normalised: set each target patch to mean 0 and (unbiased) variance 1, as MAE does.
        eps: added to that variance.

    Raises:
        ValueError: shapes that do not fit.
    """
    target_NPK = target_NPK.to(torch.promote_types(target_NPK.dtype, torch.float32))
    if normalised:
        variance, mean = torch.var_mean(target_NPK, dim=2, keepdim=True)
        target_NPK = (target_NPK - mean) * (variance + eps).rsqrt()
    return _mean_squared_error(predicted_NPK, target_NPK, hidden_NP)


def noise_loss(predicted_NPK: Tensor, noise_NPK: Tensor, hidden_NP: Tensor) -> Tensor:
    """Mean squared error of the predicted noise on visible patches, a scalar (CAN, Sec. 3.3); 0 where all are hidden.

    The noise is the target as it was added: normalising it would erase its level.

    Raises:
        ValueError: shapes that do not fit.
    """
    return _mean_squared_error(predicted_NPK, noise_NPK, ~hidden_NP)


def _mean_squared_error(predicted_NPK: Tensor, target_NPK: Tensor, chosen_NP: Tensor) -> Tensor:
    if predicted_NPK.shape != target_NPK.shape or chosen_NP.shape != target_NPK.shape[:2]:
        got = ", ".join(str(tuple(t.shape)) for t in (predicted_NPK, target_NPK, chosen_NP))
        raise ValueError(f"wanted prediction and target [N, P, K] and a mask [N, P]; got {got}")
    target_NPK = target_NPK.to(torch.promote_types(target_NPK.dtype, torch.float32))
    error_NP = (predicted_NPK.to(target_NPK.dtype) - target_NPK).square().mean(2)
    weight_NP = chosen_NP.to(error_NP.dtype)
    return (error_NP * weight_NP).sum() / weight_NP.sum().clamp_min(1)
