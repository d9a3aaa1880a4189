"""Several processes, one run (torchrun): who am I, and the collectives that objectives need.

Every function is the identity, or the obvious thing, in a run of one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

_PATIENCE = timedelta(hours=1)  # the others wait while the first evaluates


@contextmanager
def joined() -> Iterator[None]:
    """Meet the other processes that torchrun started, if it did; part from them at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Number of this process."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


class _Gather(torch.autograd.Function):
    """All processes' rows in the order of rank. Backward sums over processes what each has for the local rows.

    The rows of one process enter every process's loss. The mean over processes of parameter gradients, which DDP takes,
    is then the gradient of the mean of their losses.
    """

    @staticmethod
    def forward(ctx: object, local: Tensor) -> Tensor:  # noqa: ARG004
        parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, local.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # noqa: ARG004
        summed = gradient.contiguous().clone()
        dist.all_reduce(summed)
        return summed.chunk(dist.get_world_size())[dist.get_rank()]


def gather(local: Tensor) -> Tensor:
    """Rows [n, …] of every process, [world · n, …] in the order of rank; gradients flow to where the rows came from."""
    if world_size() == 1:
        return local
    return _Gather.apply(local)  # type: ignore[no-any-return]


def mean(value: Tensor) -> Tensor:
    """Mean over processes, without gradient."""
    if world_size() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def maximum(value: int, device: torch.device) -> int:
    """The largest of all processes' values, so that they agree on what to do."""
    if world_size() == 1:
        return value
    largest = torch.tensor(value, device=device)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


def local_rows(drawn: Tensor) -> Tensor:
    """This process's share [2, B, …] of something drawn for all images [2, world · B, …], flattened to [2B, …]."""
    share = drawn.shape[1] // world_size()
    return drawn[:, rank() * share : (rank() + 1) * share].flatten(0, 1)
