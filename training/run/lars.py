"""LARS (You, Gitman, Ginsburg 2017), the optimiser of SimCLR's and Barlow Twins' large batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor


class LARS(torch.optim.Optimizer):
    """SGD with momentum whose step, for each layer, is proportional to the norm of its weights.

        λ = trust · ‖w‖ / (‖g‖ + decay · ‖w‖)        (Eq. 6; 1 where that is not a positive number)
        v ← momentum · v + λ (g + decay · w)
        w ← w − lr · v

    A group whose `adapt` is false has λ = 1. The learning rate multiplies v, as in torch's SGD and Barlow Twins' code;
    in the paper it enters v, which differs only in how a changing rate acts on past steps.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
        adapt: bool = True,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "adapt": adapt}
        )

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [w for w in group["params"] if w.grad is not None]
            if weights:
                self._move(group, weights)
        return loss

    def _move(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        gradients = [w.grad for w in weights if w.grad is not None]
        updates = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
        if group["adapt"]:
            norms = torch.stack(torch._foreach_norm(weights))
            scale = torch.stack(torch._foreach_norm(gradients)) + group["weight_decay"] * norms
            ratio = torch.where((norms > 0) & (scale > 0), group["trust"] * norms / scale, 1.0)
            torch._foreach_mul_(updates, list(ratio.unbind()))
        for w in weights:
            if not self.state[w]:
                self.state[w]["velocity"] = torch.zeros_like(w)
        velocities = [self.state[w]["velocity"] for w in weights]
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_add_(velocities, updates)
        torch._foreach_add_(weights, velocities, alpha=-group["lr"])
