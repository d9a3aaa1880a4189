"""A batch through a network in parts: a loss that sees all of it, in a memory that does not hold all of it.

Gradient caching (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup"): the
representations of each part are computed and what was needed for them is thrown away; the loss is taken of all; then
each part passes the network again and the loss's gradient goes back through it. The gradient is that of the whole
batch, at the price of a second forward pass. What a batch norm sees, though, is a part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def in_parts(module: nn.Module, run: Callable[..., Tensor], parts: int, *inputs: Tensor) -> Tensor:
    """`run(*inputs)` for a `run` of `module` whose rows do not depend on each other; all have the same N rows.

    The buffers of `module` change as in the first of the two passes. With one part, or where no gradient is asked for,
    nothing is done twice.
    """
    if parts == 1 or not torch.is_grad_enabled():
        return run(*inputs)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _unchanged_buffers(module)

    rows = zip(*(each.tensor_split(parts) for each in inputs), strict=True)
    return torch.cat(
        [checkpoint(run, *part, use_reentrant=False, preserve_rng_state=False, context_fn=contexts) for part in rows]
    )


@contextmanager
def _unchanged_buffers(module: nn.Module) -> Iterator[None]:
    """Running means, which the first pass has moved already, are at the end as they were."""
    buffers = list(module.buffers())
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
