"""The momentum encoder's average and schedule."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from training.model.momentum import momentum_at, update_


def test_the_momentum_is_half_a_cosine() -> None:
    for progress in (0.0, 0.1, 0.25, 0.5, 0.9, 1.0):
        closed = 1 - (1 - 0.99) * (math.cos(math.pi * progress) + 1) / 2
        assert momentum_at(progress, 0.99, 1.0) == pytest.approx(closed, abs=1e-15)
    assert momentum_at(0.0, 0.99, 0.999) == pytest.approx(0.99, abs=1e-15)
    assert momentum_at(0.5, 0.99, 0.999) == pytest.approx(0.9945, abs=1e-15)
    assert momentum_at(1.0, 0.99, 0.999) == 0.999
    assert momentum_at(0.3, 0.99, 0.99) == 0.99


def _network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()
    network(torch.randn(8, 3, dtype=torch.float64))
    return network


def test_parameters_are_averaged_and_buffers_copied() -> None:
    target, source = _network(0), _network(1)
    source[0].weight.grad = torch.ones_like(source[0].weight)
    before = {name: p.detach().clone() for name, p in target.named_parameters()}
    update_(target, source, 0.9)
    update_(target, source, 0.5)
    for name, parameter in target.named_parameters():
        other = source.get_parameter(name).detach()
        torch.testing.assert_close(
            parameter.detach(), 0.5 * (0.9 * before[name] + 0.1 * other) + 0.5 * other, rtol=1e-12, atol=1e-12
        )
        assert parameter.grad is None
        assert parameter.is_leaf
    for kept, fresh in zip(target.buffers(), source.buffers(), strict=True):
        assert torch.equal(kept, fresh)
        assert kept.data_ptr() != fresh.data_ptr()


def test_momentum_one_keeps_the_target_and_zero_takes_the_source() -> None:
    target, source = _network(0), _network(1)
    before = [p.detach().clone() for p in target.parameters()]
    update_(target, source, 1.0)
    assert all(torch.equal(p, q) for p, q in zip(target.parameters(), before, strict=True))
    update_(target, source, 0.0)
    assert all(torch.equal(p, q) for p, q in zip(target.parameters(), source.parameters(), strict=True))
