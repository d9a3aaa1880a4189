from __future__ import annotations

import math

import pytest
import torch

from training import recipes
from training.config import TrainConfig
from training.model import AmclModel
from training.optim import learning_rate, parameter_groups


def test_the_schedule_in_closed_form() -> None:
    train = TrainConfig(lr=0.06, batch_size=256, epochs=10, warmup_epochs=2)
    rates = [learning_rate(train, step, 100) for step in range(1000)]
    assert rates[0] == pytest.approx(0.12 / 200)
    assert rates[199] == pytest.approx(0.12)
    assert rates[600] == pytest.approx(0.12 * 0.5 * (1 + math.cos(math.pi / 2)))
    assert rates[999] < 1e-5
    assert learning_rate(TrainConfig(lr=0.06, batch_size=128), 0, 100) == 0.06


def test_biases_norms_and_temperatures_do_not_decay() -> None:
    method = torch.nn.Module()
    method.model = AmclModel(recipes.adaptive(recipes.recipe("simclr")))
    decayed, free = parameter_groups(method, 0.1)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    temperature = {id(p) for p in method.model.temperature.parameters()}
    assert temperature <= {id(p) for p in free["params"]}
    assert all(p.dim() > 1 for p in decayed["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(list(method.parameters()))
