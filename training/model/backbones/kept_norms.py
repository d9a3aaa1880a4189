"""Batch norms that keep the statistics they have, whatever images come: those of weights from elsewhere."""

from __future__ import annotations

from typing import Self

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class _Kept(_BatchNorm):
    """Always in evaluation mode; its weights learn."""

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002
        return super().train(False)


def keep_norms(network: nn.Module) -> None:
    """Have every batch norm of `network` normalise by its running statistics, in training too, and leave them be."""
    for part in network.modules():
        if isinstance(part, _BatchNorm):
            part.__class__ = type(f"Kept{type(part).__name__}", (_Kept, type(part)), {})
            part.eval()
