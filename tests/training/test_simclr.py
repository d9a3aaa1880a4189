from __future__ import annotations

import torch
import torch.nn.functional as F

from training import config as configs
from training import recipes
from training.methods.simclr import SimCLR

SMALL = ["backbone.width=8", "heads.hidden=16", "heads.dim=8", "data.image_size=16"]


def _method(*settings: str, adaptive: bool = False) -> SimCLR:
    config = recipes.recipe("simclr")
    torch.manual_seed(0)
    return SimCLR(configs.override(recipes.adaptive(config) if adaptive else config, [*SMALL, *settings]))


def _views() -> torch.Tensor:
    return torch.randn(12, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_one_head_and_a_constant_temperature_is_published_simclr() -> None:
    method = _method("temperature.value=0.5")
    loss, _ = method(_views())
    _, heads = method.model(_views())
    z = F.normalize(heads[:, 0], dim=1)
    logits = (z @ z.T / 0.5).masked_fill(torch.eye(12, dtype=torch.bool), -torch.inf)
    expected = F.cross_entropy(logits, torch.tensor([6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5]))
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)


def test_views_may_be_swapped_and_the_batch_reordered() -> None:
    method = _method(adaptive=True).double().eval()
    x = _views().double()
    one, _ = method(x)
    swapped, _ = method(x.roll(6, dims=0))
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    moved, _ = method(x[torch.cat([order, order + 6])])
    torch.testing.assert_close(swapped, one)
    torch.testing.assert_close(moved, one)


def test_gradients_reach_every_parameter() -> None:
    method = _method(adaptive=True)
    for _ in range(2):
        loss, _ = method(_views())
        loss.backward()
    without = [name for name, p in method.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert without == []


def test_mixed_precision_keeps_logits_and_temperatures_in_float32() -> None:
    method = _method(adaptive=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss, seen = method(_views())
    assert {loss.dtype, seen["similarity"].dtype, seen["tau"].dtype} == {torch.float32}
