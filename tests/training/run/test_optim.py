"""The learning rate in closed form, who decays, and LARS against its formula."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from training.config import BackboneConfig, MaskedConfig, TrainConfig, recipes
from training.model.backbones import ViT
from training.model.decoder import Decoder
from training.model.model import AmclModel
from training.run import optim
from training.run.lars import LARS
from training.run.optim import learning_rate


def test_the_schedule_in_closed_form() -> None:
    train = TrainConfig(lr=0.06, batch_size=256, epochs=10, warmup_epochs=2)
    rates = [learning_rate(train, step, 1000, 100) for step in range(1000)]
    assert rates[0] == pytest.approx(0.12 / 200)
    assert rates[199] == pytest.approx(0.12)
    assert rates[600] == pytest.approx(0.12 * 0.5 * (1 + math.cos(math.pi / 2)))
    assert rates[999] < 1e-5
    assert learning_rate(TrainConfig(lr=0.06, batch_size=128), 0, 100, 100) == 0.06


def test_a_stage_has_the_schedule_of_its_own_length() -> None:
    train = TrainConfig(lr=0.1, batch_size=128, epochs=10)
    assert learning_rate(train, 150, 300, 100) == pytest.approx(0.05)
    assert learning_rate(train, 299, 300, 100) < 1e-5


def test_a_warm_up_longer_than_the_stage_only_rises() -> None:
    train = TrainConfig(lr=0.1, batch_size=128, warmup_epochs=5)
    rates = [learning_rate(train, step, 300, 100) for step in range(300)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.1 * 300 / 500)


class _Masked(nn.Module):
    """A method in small: backbone, heads and temperature, and a decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.model = AmclModel(recipes.adaptive(recipes.recipe("simclr")))
        self.vit = ViT(BackboneConfig(name="vit", width=8, depth=2, attention_heads=2, patch=4), 8)
        self.decoder = Decoder(4, 8, MaskedConfig(decoder_width=8, decoder_depth=1, decoder_heads=2), 6)


def _names(method: nn.Module, group: dict[str, list[nn.Parameter]]) -> set[str]:
    by_id = {id(p): name for name, p in method.named_parameters()}
    return {by_id[id(p)] for p in group["params"]}


def test_only_weight_matrices_outside_the_temperature_decay() -> None:
    method = _Masked()
    optimiser = optim.build(method, lambda _: 1.0, TrainConfig(weight_decay=0.1))
    free, decayed = sorted(optimiser.param_groups, key=lambda group: group["weight_decay"])
    assert (free["weight_decay"], decayed["weight_decay"]) == (0.0, 0.1)
    assert {
        "decoder.mask_token",
        "vit.norm.weight",
        "vit.blocks.0.qkv.bias",
        "model.temperature.phi.0.weight",
    } <= _names(method, free)
    assert {"vit.patch_embedding.weight", "vit.blocks.1.qkv.weight", "model.backbone.conv1.weight"} <= _names(
        method, decayed
    )
    assert all(p.dim() > 1 for p in decayed["params"])
    assert not any("temperature" in name for name in _names(method, decayed))
    assert _names(method, free) | _names(method, decayed) == {name for name, _ in method.named_parameters()}


def test_rates_make_groups_and_what_is_not_trained_is_in_none() -> None:
    method = _Masked()
    method.decoder.requires_grad_(False)

    def rate(name: str) -> float:
        return 0.0 if "patch_embedding" in name else 0.1 if name.startswith("vit.blocks.0") else 1.0

    optimiser = optim.build(method, rate, TrainConfig())
    assert sorted((group["rate"], group["weight_decay"] > 0) for group in optimiser.param_groups) == [
        (0.1, False),
        (0.1, True),
        (1.0, False),
        (1.0, True),
    ]
    seen = {name: group["rate"] for group in optimiser.param_groups for name in _names(method, group)}
    expected = {n: rate(n) for n, _ in method.named_parameters() if rate(n) and not n.startswith("decoder")}
    assert seen == expected
    with pytest.raises(ValueError, match="no parameter"):
        optim.build(method, lambda _: 0.0, TrainConfig())


def test_each_optimiser_is_the_one_it_is_called() -> None:
    method, train = nn.Linear(3, 2), TrainConfig(momentum=0.8)
    sgd = optim.build(method, lambda _: 1.0, train)
    assert type(sgd) is torch.optim.SGD
    assert sgd.defaults["momentum"] == 0.8
    adamw = optim.build(method, lambda _: 1.0, replace(train, optimiser="adamw"))
    assert type(adamw) is torch.optim.AdamW
    assert adamw.defaults["betas"] == (0.8, 0.95)
    lars = optim.build(method, lambda _: 1.0, replace(train, optimiser="lars"))
    assert type(lars) is LARS
    assert [(group["adapt"], group["momentum"]) for group in lars.param_groups] == [(True, 0.8), (False, 0.8)]


def _weights(seed: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, dtype=dtype, generator=generator) for shape in ((4, 3), (5, 4, 3, 3), (6,))]


def test_lars_is_its_formula() -> None:
    adapted, free, decay, momentum, lr = _weights(0), _weights(1), 0.01, 0.9, 0.4
    expected = [w.clone() for w in adapted + free]
    velocity = [torch.zeros_like(w) for w in expected]
    adapted, free = ([nn.Parameter(w) for w in part] for part in (adapted, free))
    groups = [
        {"params": adapted, "weight_decay": decay},
        {"params": free, "weight_decay": 0.0, "adapt": False},
    ]
    optimiser = LARS(groups, lr=lr, momentum=momentum)
    for step in range(4):
        gradients = _weights(10 + step) + _weights(20 + step)
        for i, g in enumerate(gradients):
            w, share = expected[i], decay if i < 3 else 0.0
            norm = math.sqrt(sum(float(x) ** 2 for x in w.flatten()))
            slope = math.sqrt(sum(float(x) ** 2 for x in g.flatten()))
            ratio = 0.001 * norm / (slope + share * norm) if i < 3 else 1.0
            velocity[i] = momentum * velocity[i] + ratio * (g + share * w)
            expected[i] = w - lr * velocity[i]
        for parameter, g in zip(adapted + free, gradients, strict=True):
            parameter.grad = g.clone()
        optimiser.step()
    for parameter, w in zip(adapted + free, expected, strict=True):
        torch.testing.assert_close(parameter.data, w, rtol=1e-12, atol=1e-14)


def test_lars_moves_weights_of_zero_and_bears_gradients_of_zero() -> None:
    zero, still = nn.Parameter(torch.zeros(3, 2)), nn.Parameter(torch.ones(3, 2))
    unused = nn.Parameter(torch.ones(2))
    zero.grad, still.grad = torch.ones(3, 2), torch.zeros(3, 2)
    LARS([zero, still, unused], lr=0.5).step()
    assert torch.equal(zero.data, torch.full((3, 2), -0.5))
    assert torch.equal(still.data, torch.ones(3, 2))
    assert torch.equal(unused.data, torch.ones(2))


def test_lars_is_lightlys() -> None:
    module = pytest.importorskip("lightly.utils.lars")
    ours, theirs = ([nn.Parameter(w) for w in _weights(0)] for _ in range(2))
    pair = (
        (ours, LARS(ours, lr=0.3, momentum=0.9, weight_decay=1e-3)),
        (theirs, module.LARS(theirs, lr=0.3, momentum=0.9, weight_decay=1e-3)),
    )
    for step in range(3):
        for parameters, optimiser in pair:
            for parameter, g in zip(parameters, _weights(30 + step), strict=True):
                parameter.grad = g
            optimiser.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-12)  # theirs adds 1e-8 to the norm


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw"])
def test_an_optimiser_goes_on_from_its_saved_state(name: str) -> None:
    train = replace(TrainConfig(), optimiser=name)  # type: ignore[arg-type]

    def steps(layer: nn.Linear, optimiser: torch.optim.Optimizer, first: int, last: int) -> None:
        for step in range(first, last):
            x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
            optimiser.zero_grad()
            layer(x).square().sum().backward()
            optimiser.step()

    torch.manual_seed(0)
    whole, half = nn.Linear(3, 2), nn.Linear(3, 2)
    half.load_state_dict(whole.state_dict())
    one, two = (optim.build(layer, lambda _: 0.5, train) for layer in (whole, half))
    steps(whole, one, 0, 6)
    steps(half, two, 0, 3)
    file = io.BytesIO()
    torch.save({"layer": half.state_dict(), "optimiser": two.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    fresh = nn.Linear(3, 2)
    fresh.load_state_dict(state["layer"])
    three = optim.build(fresh, lambda _: 0.5, train)
    three.load_state_dict(state["optimiser"])
    assert [group["rate"] for group in three.param_groups] == [0.5, 0.5]
    steps(fresh, three, 3, 6)
    assert torch.equal(fresh.weight, whole.weight)
    assert torch.equal(fresh.bias, whole.bias)
