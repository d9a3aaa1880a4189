"""Several processes, one run (torchrun): who am I, and the collectives that objectives and the loop need.

Every function is the identity, or the obvious thing, in a run of one process. Decisions travel over gloo on the CPU,
tensors on a GPU over NCCL.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

_PATIENCE = timedelta(hours=1)  # the others wait while the first evaluates
_LONGEST = 4096  # bytes of an error's text


@contextmanager
def joined() -> Iterator[None]:
    """Meet the other processes that torchrun started, if it did; part from them at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    backend, local = "gloo", int(os.environ["LOCAL_RANK"])
    if local < torch.cuda.device_count():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(local)
    dist.init_process_group(backend, timeout=_PATIENCE)
    yield
    dist.destroy_process_group()  # not after an error: the others, who may wait for this process, see it go


def rank() -> int:
    """Number of this process."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def parallel(module: nn.Module) -> nn.Module:
    """`module`, its gradients averaged over processes; each keeps its own buffers."""
    if world_size() == 1:
        return module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch 2.14 renames the argument; 2.11 knows no other name
        return DistributedDataParallel(module, broadcast_buffers=False)


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
    """Mean over processes; gradients flow to each of them."""
    return gather(value.unsqueeze(0)).mean(0)


def maxima(*values: int) -> list[int]:
    """Of each value the largest that a process has, so that they agree on what to do."""
    if world_size() == 1:
        return list(values)
    largest = torch.tensor(values)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return largest.tolist()


def union(numbers: Collection[int]) -> set[int]:
    """All processes' numbers, which are not negative."""
    (most,) = maxima(len(numbers))
    padded = torch.full((most,), -1)
    padded[: len(numbers)] = torch.tensor(list(numbers), dtype=torch.long)
    return set(gather(padded).tolist()) - {-1}


@contextmanager
def together(kind: type[Exception]) -> Iterator[None]:
    """Leave the block together: a `kind` that one process raises in it is raised by all, with the text of the first.

    For what one process alone does or sees; without it, the others would wait for the one that failed. No collective
    may be inside.
    """
    error: Exception | None = None
    try:
        yield
    except kind as mine:
        if world_size() == 1:
            raise
        error = mine
    (place,) = maxima(world_size() - rank() if error else 0)  # of the first that failed, counted from the last
    if place:
        text = torch.zeros(_LONGEST, dtype=torch.uint8)
        encoded = str(error).encode()[:_LONGEST]
        text[: len(encoded)] = torch.tensor(list(encoded), dtype=torch.uint8)
        dist.broadcast(text, world_size() - place)
        raise kind(bytes(text.tolist()).rstrip(b"\0").decode(errors="replace")) from error


def local_rows(drawn: Tensor) -> Tensor:
    """This process's share [2, B, …] of something drawn for all images [2, world · B, …], flattened to [2B, …]."""
    share = drawn.shape[1] // world_size()
    return drawn[:, rank() * share : (rank() + 1) * share].flatten(0, 1)
