from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from training.objectives.reconstruction import masked_reconstruction_loss, noise_loss

N, P, K = 3, 5, 12


def _drawn(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    predicted, target = torch.randn(2, N, P, K, generator=generator, dtype=torch.float64)
    return predicted.requires_grad_(), target * 2 + 1, torch.rand(N, P, generator=generator) < 0.5


@pytest.mark.parametrize("normalised", [True, False])
def test_hidden_patches_equal_the_transcription(normalised: bool) -> None:
    predicted, target, hidden = _drawn(1)
    total, count, gradient = 0.0, 0, np.zeros((N, P, K))
    for n in range(N):
        for p in range(P):
            if hidden[n, p]:
                wanted = target[n, p].numpy()
                if normalised:
                    wanted = (wanted - wanted.mean()) / np.sqrt(wanted.var(ddof=1) + 1e-6)
                error = predicted[n, p].detach().numpy() - wanted
                total, count = total + float((error**2).mean()), count + 1
                gradient[n, p] = 2 * error / K
    loss = masked_reconstruction_loss(predicted, target, hidden, normalised=normalised)
    assert loss.item() == pytest.approx(total / count, abs=1e-12)
    (found,) = torch.autograd.grad(loss, predicted)
    np.testing.assert_allclose(found.numpy(), gradient / count, atol=1e-13)
    assert torch.autograd.gradcheck(
        lambda x: masked_reconstruction_loss(x, target, hidden, normalised=normalised), predicted
    )


def test_noise_is_predicted_on_visible_patches_at_its_own_level() -> None:
    predicted, noise, hidden = _drawn(2)
    terms = [(predicted[n, p] - noise[n, p]).pow(2).mean() for n in range(N) for p in range(P) if not hidden[n, p]]
    expected = torch.stack(terms).mean()
    loss = noise_loss(predicted, noise, hidden)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    (mine,), (theirs,) = (torch.autograd.grad(value, predicted) for value in (loss, expected))
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    assert noise_loss(torch.zeros_like(noise), 2 * noise, hidden) == 4 * noise_loss(
        torch.zeros_like(noise), noise, hidden
    )


def test_the_two_share_no_patch_and_leave_none_out() -> None:
    predicted, target, hidden = _drawn(3)
    both = [
        torch.autograd.grad(loss, predicted)[0].abs().sum(2) > 0
        for loss in (
            masked_reconstruction_loss(predicted, target, hidden, normalised=True),
            noise_loss(predicted, target, hidden),
        )
    ]
    assert torch.equal(both[0], hidden)
    assert torch.equal(both[1], ~hidden)


def test_flat_patches_empty_masks_and_half_precision_give_numbers() -> None:
    predicted = torch.zeros(1, 2, K, dtype=torch.bfloat16, requires_grad=True)
    flat, none = torch.full((1, 2, K), 0.5, dtype=torch.bfloat16), torch.zeros(1, 2, dtype=torch.bool)
    for hidden in (none, ~none):
        with torch.autocast("cpu", torch.bfloat16):
            loss = masked_reconstruction_loss(predicted, flat, hidden, normalised=True)
            loss = loss + noise_loss(predicted, flat, hidden)
        loss.backward()
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss)
        assert predicted.grad is not None
        assert torch.isfinite(predicted.grad).all()


def test_shapes_are_checked() -> None:
    predicted, target, hidden = _drawn(4)
    with pytest.raises(ValueError, match="wanted prediction and target"):
        masked_reconstruction_loss(predicted[:, :2], target, hidden, normalised=False)
    with pytest.raises(ValueError, match="wanted prediction and target"):
        noise_loss(predicted, target, hidden[:, :2])
