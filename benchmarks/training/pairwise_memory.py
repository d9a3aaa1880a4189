"""Memory and time of the contrastive loss with adaptive temperatures of all pairs, forward and backward, on a CPU.

    python -m benchmarks.training.pairwise_memory [--batch 4096] [--heads 5] [--dim 128]

Runs in a process of its own, whose peak is read with getrusage; what it held before the loss is printed beside it.
`unchunked_gib` is arithmetic: the bytes a pair takes when all are held at once, times the pairs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time

import torch
import torch.nn.functional as F

from training.config import HeadsConfig, PairTemperatureConfig
from training.model.temperature import build
from training.objectives.contrastive import contrast

# float32 tensors of all pairs alive at the peak of the unchunked backward: s, s − β, σ, τ, log-softmax, three gradients
TENSORS = 8


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4096, help="images; two views each")
    parser.add_argument("--heads", type=int, default=5)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--chunk", type=int, default=2**25, help="pairs held at once")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        before, peak, seconds = pool.apply(measure, (args.batch, args.heads, args.dim, args.chunk))
    pairs = args.heads * (2 * args.batch) ** 2
    print(f"C = {args.heads}, N = M = {2 * args.batch}, d' = {args.dim}: {pairs / 1e6:.0f} million pairs")
    print(f"seconds = {seconds:.1f} ({torch.get_num_threads()} threads)")
    print(f"before_gib = {before:.2f}")
    print(f"unchunked_gib = {before + TENSORS * 4 * pairs / 2**30:.2f}")
    print(f"peak_gib = {peak:.2f}")


def measure(batch: int, heads: int, dim: int, chunk: int) -> tuple[float, float, float]:
    """GiB of this process before and at the peak of one forward and backward, and the seconds they take."""
    generator = torch.Generator().manual_seed(0)
    rows = 2 * batch
    z_CND = F.normalize(torch.randn(heads, rows, dim, generator=generator), dim=-1).requires_grad_()
    temperature = build(HeadsConfig(num=heads, dim=dim), PairTemperatureConfig(kind="adaptive"))
    options = {"own_N": torch.arange(rows), "beta": 1.0, "eta": 4.0, "chunk_elements": chunk}
    before, began = _peak_gib(), time.perf_counter()
    contrast(z_CND, z_CND, torch.arange(rows).roll(batch), temperature, **options).backward()
    return before, _peak_gib(), time.perf_counter() - began


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux: kibibytes


if __name__ == "__main__":
    main()
