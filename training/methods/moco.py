"""MoCo v2 (Chen et al. 2020), standard and adaptive: queries against a momentum encoder's keys and a queue of them.

Legend: B images, C heads, D dims of a head (d'), K keys in the queue.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.config.methods import MoCoConfig
from training.machine import distributed
from training.machine.precision import full_precision
from training.methods.base import Method, Seen, Step
from training.methods.contrast import contrast_of
from training.model.heads import by_head
from training.model.momentum import MomentumEncoder


class MoCo(Method):
    """Encoder and momentum encoder; each query's candidates are its own key and the queue.

    Symmetric: both views are queries in turn. Keys are shuffled and pass in parts, each with its own batch statistics,
    so that batch norm does not give away which query a key belongs to (He et al. 2020, Sec. 3.3).
    """

    queue: Tensor
    place: Tensor

    def __init__(self, config: MoCoConfig) -> None:
        super().__init__(config)
        self.contrast = contrast_of(config.temperature, config.loss)
        self.momentum = config.momentum
        self.key = MomentumEncoder(self.model, config.momentum)
        start = F.normalize(torch.randn(config.heads.num, config.momentum.queue, config.heads.dim), dim=-1)
        self.register_buffer("queue", start)
        self.register_buffer("place", torch.zeros((), dtype=torch.long))

    def forward(self, views_N3SS: Tensor, step: Step) -> tuple[Tensor, Seen]:
        """The mean over heads and queries of the contrastive loss; the keys then enter the queue."""
        first_B3SS, second_B3SS = views_N3SS.chunk(2)
        pairs = [(first_B3SS, second_B3SS)] + [(second_B3SS, first_B3SS)] * self.momentum.symmetric
        if self.training:
            self.key.follow(self.model, step.progress)
        keys_CBD = [self.keys(key, step) for _, key in pairs]
        features, losses, queries = [], [], []
        for (query, _), key_CBD in zip(pairs, keys_CBD, strict=True):
            features_BD, heads_BCD = self.model(query)
            with full_precision(query.device):
                z_CBD = by_head(heads_BCD)
                losses.append(self._loss(z_CBD, key_CBD))
            features.append(features_BD.detach())
            queries.append(z_CBD.detach())
        if self.training:
            for key_CBD in keys_CBD:
                self._enqueue(key_CBD)
        rows = torch.arange(len(first_B3SS), device=first_B3SS.device)
        return torch.stack(losses).mean(), Seen(torch.cat(features), queries[0], keys_CBD[0], rows)

    def keys(self, view_B3SS: Tensor, step: Step) -> Tensor:
        """Unit-norm keys [C, B, d'] of one view, in its order."""
        order = torch.randperm(len(view_B3SS), generator=step.generator(torch.device("cpu"))).to(view_B3SS.device)
        parts = view_B3SS[order].tensor_split(
            min(self.momentum.splits, max(1, len(order) // 2))
        )  # a batch norm needs two
        return torch.cat([self.key(part) for part in parts], dim=1)[:, order.argsort()]

    def _loss(self, z_CBD: Tensor, key_CBD: Tensor) -> Tensor:
        """Candidates are the batch's keys and the queue; of the batch's, all but the query's own are left out."""
        all_keys_CMD = distributed.gather(key_CBD.transpose(0, 1)).transpose(0, 1)
        rows = torch.arange(z_CBD.shape[1], device=z_CBD.device)
        positive_B = distributed.rank() * len(rows) + rows
        columns = torch.arange(all_keys_CMD.shape[1] + self.queue.shape[1], device=z_CBD.device)
        others_BM = (columns < all_keys_CMD.shape[1]) & (columns != positive_B[:, None])
        candidates_CMD = torch.cat([all_keys_CMD, self.queue.to(z_CBD.dtype)], dim=1)
        return self.contrast(z_CBD, candidates_CMD, positive_B, self.model.temperature, excluded_NM=others_BM)

    @torch.no_grad()
    def _enqueue(self, key_CBD: Tensor) -> None:
        """The newest keys take the place of the oldest."""
        keys_CMD = distributed.gather(key_CBD.transpose(0, 1)).transpose(0, 1)[:, -self.queue.shape[1] :]
        rows = (self.place + torch.arange(keys_CMD.shape[1], device=keys_CMD.device)) % self.queue.shape[1]
        self.queue = self.queue.index_copy(
            1, rows, keys_CMD.to(self.queue.dtype)
        )  # a copy: the graph holds the old one
        self.place = (self.place + len(rows)) % self.queue.shape[1]
