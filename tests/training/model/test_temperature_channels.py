from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.config import HeadsConfig, TemperatureConfig
from training.model.temperature import ChannelTemperature

CONFIG = TemperatureConfig(kind="adaptive", value=1.0, low=0.5, high=2.0)
C, D = 3, 6


def _corr(seed: int = 0) -> Tensor:
    return torch.rand(C, D, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def _trained() -> ChannelTemperature:
    torch.manual_seed(0)
    module = ChannelTemperature(HeadsConfig(num=C), CONFIG).double()
    for value in module.parameters():
        value.data.normal_()
    return module


def test_it_starts_at_the_standard_temperature_and_can_leave_it() -> None:
    module = ChannelTemperature(HeadsConfig(num=C), CONFIG).double()
    tau = module(_corr())
    torch.testing.assert_close(tau, torch.ones(C, D, D, dtype=torch.float64), rtol=1e-6, atol=0)
    (tau * _corr(1)).sum().backward()
    assert module.phi[2].weight.grad is not None
    assert bool((module.phi[2].weight.grad != 0).all())


def test_it_equals_its_formula_one_pair_at_a_time() -> None:
    module, corr = _trained(), _corr()
    tau = module(corr)
    w = {name: value.detach() for name, value in module.state_dict().items()}
    for c in range(C):
        for j in range(D):
            for k in range(D):
                phi = sum(
                    float(v) * math.tanh(float(u) * corr[c, j, k].item() + float(b))
                    for u, b, v in zip(w["phi.0.weight"][:, 0], w["phi.0.bias"], w["phi.2.weight"][0], strict=True)
                )
                logit = float(w["bias"][c]) - float(w["gain"][c]) * phi
                assert tau[c, j, k].item() == pytest.approx(0.5 + 1.5 / (1 + math.exp(-logit)), abs=1e-12)


@pytest.mark.parametrize("chunk", [1, 2 * C * D, 4 * C * D])
def test_chunks_equal_the_whole(chunk: int) -> None:
    found = []
    for size in (2**22, chunk):
        module, corr = _trained(), _corr().requires_grad_()
        module.chunk_elements = size
        tau = module(corr)
        found.append([tau, *torch.autograd.grad((tau * _corr(1)).sum(), [corr, *module.parameters()])])
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)


def test_gradients_by_finite_differences() -> None:
    assert torch.autograd.gradcheck(_trained(), _corr().requires_grad_())


def test_it_stays_within_its_bounds_and_float32_under_autocast() -> None:
    module = ChannelTemperature(HeadsConfig(num=C), CONFIG)
    for value in module.parameters():
        value.data.fill_(1e6)
    module.phi[0].bias.data.zero_()  # so that the sign of the correlation decides
    module.bias.data.zero_()
    corr = _corr().float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        tau = module(corr)
    tau.sum().backward()
    assert tau.dtype == torch.float32
    assert tau.min().item() == pytest.approx(0.5)
    assert tau.max().item() == pytest.approx(2.0)
    for value in (corr, *module.parameters()):
        assert value.grad is not None
        assert torch.isfinite(value.grad).all()
