"""NT-Xent and InfoNCE with a temperature per pair: one family (SimCLR, MoCo, LGP, CAN).

Legend: C heads, N anchors, M candidates; s similarity in [−1, 1], τ temperature, β and η weights.

    Ω(τ) = η log τ + 1/τ                                                     (poster; η is d'/2 there, a setting here)
    a_n  = s_n/τ_n − β Ω(τ_n)
    posterior   ℓ = −a₊ + log Σ_{n ∈ {+} ∪ negatives} exp(a_n)               (ours: the row before its approximation)
    topk        the same over + and the κ most similar negatives
    max         ℓ = −s₊/τ₊ + s_*/τ_* + βΩ(τ₊) − βΩ(τ_*),  * = argmax s       (the poster's rows)

The candidates hold the positive (InfoNCE, published SimCLR, the poster's LGP and CAN rows) unless
`positive_in_denominator` is false (the poster's SimCLR and MoCo row).

`heads` says who judges. "separate": each head has a loss of its own, and the mean is taken over heads and anchors (the
poster sums over heads; the mean keeps the learning rate comparable across C). "joint" (ours): all heads judge a
candidate together, a_n = Σ_c a_n^c in one softmax, as independent Gaussians of the heads ask for; the mean is over
anchors. Logits add up, so a joint temperature that is as sharp as a separate one is C times as high. With one head both
are the same.

A constant τ makes βΩ cancel; the posterior form is then the standard loss exactly: jointly, that of the summed
similarities.

`contrast` starts from embeddings, `contrastive_loss` from similarities and temperatures.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from training.machine.precision import full_precision
from training.model.temperature import Temperature

Negatives = Literal["posterior", "topk", "max"]
Judges = Literal["separate", "joint"]


def omega(tau: Tensor, eta: float) -> Tensor:
    """The regulariser Ω(τ) = η log τ + 1/τ (poster: η = d'/2), elementwise."""
    return eta * tau.log() + 1 / tau


def contrast(
    anchors_CND: Tensor,
    candidates_CMD: Tensor,
    positive_N: Tensor,
    temperature: Temperature,
    *,
    own_N: Tensor | None = None,
    excluded_NM: Tensor | None = None,
    beta: float = 0.0,
    eta: float = 1.0,
    negatives: Negatives = "posterior",
    top_k: int = 16,
    positive_in_denominator: bool = True,
    heads: Judges = "separate",
    chunk_elements: int = 2**25,
) -> Tensor:
    """Contrastive loss of unit-norm rows against unit-norm rows, a scalar, in float32 at least and bounded memory.

    Above `chunk_elements` pairs (C · N · M) anchors are taken in chunks that backward recomputes; value and gradient
    stay the same. Options are `contrastive_loss`'s.

    Args:
        anchors_CND: this process's anchors.
        candidates_CMD: the candidates of all processes, keys of a queue, …
        positive_N: column of each anchor's positive, int64.
        temperature: of pairs of images.
        own_N: column of the anchor itself, which is no candidate; None where anchors are not among the candidates.
        excluded_NM: True where the candidate is no candidate for another reason.
        chunk_elements: pairs held at once; a pair takes some 32 bytes.

    Raises:
        ValueError: as `contrastive_loss`.
    """
    rows, columns = anchors_CND.shape[1], candidates_CMD.shape[1]

    def of_rows(z_CnD: Tensor, a_CnF: Tensor, chosen: slice) -> Tensor:
        excluded_nM = None if excluded_NM is None else excluded_NM[chosen]
        if own_N is not None:
            own_nM = torch.arange(columns, device=own_N.device) == own_N[chosen, None]
            excluded_nM = own_nM if excluded_nM is None else own_nM | excluded_nM
        loss = contrastive_loss(
            z_CnD @ candidates_CMD.transpose(1, 2),
            temperature.between(a_CnF, b_CMF),
            positive_N[chosen],
            excluded_nM,
            beta=beta,
            eta=eta,
            negatives=negatives,
            top_k=top_k,
            positive_in_denominator=positive_in_denominator,
            heads=heads,
        )
        return loss * (len(positive_N[chosen]) / rows)

    with full_precision(anchors_CND.device):
        same = candidates_CMD is anchors_CND
        anchors_CND = anchors_CND.to(torch.promote_types(anchors_CND.dtype, torch.float32))
        candidates_CMD = anchors_CND if same else candidates_CMD.to(anchors_CND.dtype)
        # The running mean moves here, once.
        a_CNF, b_CMF = temperature.embed_pairs(anchors_CND, candidates_CMD, own_N=own_N, excluded_NM=excluded_NM)
        size = max(1, chunk_elements // (len(anchors_CND) * columns))
        if size >= rows:
            return of_rows(anchors_CND, a_CNF, slice(None))
        # split, whose backward joins the parts: that of a slice would fill all rows for every chunk
        z, a = torch.split(anchors_CND, size, dim=1), torch.split(a_CNF, size, dim=1)
        chosen = [slice(first, first + size) for first in range(0, rows, size)]
        losses = [
            checkpoint(of_rows, *chunk, use_reentrant=False, preserve_rng_state=False)
            for chunk in zip(z, a, chosen, strict=True)
        ]
        return torch.stack(losses).sum()


def contrastive_loss(
    sim_CNM: Tensor,
    tau: Tensor,
    positive_N: Tensor,
    excluded_NM: Tensor | None = None,
    *,
    beta: float = 0.0,
    eta: float = 1.0,
    negatives: Negatives = "posterior",
    top_k: int = 16,
    positive_in_denominator: bool = True,
    heads: Judges = "separate",
) -> Tensor:
    """Contrastive loss of anchors against candidates, a scalar; see the module's docstring.

    Args:
        sim_CNM: similarities, float32 or float64.
        tau: temperatures [C, N, M], or a 0-d constant (β and η then have no effect).
        positive_N: column of each anchor's positive, int64.
        excluded_NM: True where the candidate is no candidate (the anchor itself).
        beta: weight of Ω.
        eta: η of Ω.
        negatives: which candidates stand against the positive.
        top_k: κ, for "topk"; capped at the number of negatives.
        positive_in_denominator: whether + is a candidate too (InfoNCE, published SimCLR; not the poster's NT-Xent).
        heads: whether each head judges by itself or all together, who then are like one head of s = Σ_c s_c.

    Raises:
        ValueError: shapes that do not fit, or an unknown `negatives` or `heads`.

    >>> s = torch.tensor([[[1.0, 0.0, -1.0]]])
    >>> contrastive_loss(s, torch.tensor(1.0), torch.tensor([0])).item()  # doctest: +ELLIPSIS
    0.407...
    """
    if sim_CNM.dim() != 3 or tau.dim() not in (0, 3) or positive_N.shape != sim_CNM.shape[1:2]:
        got = ", ".join(str(tuple(t.shape)) for t in (sim_CNM, tau, positive_N))
        raise ValueError(f"wanted sim [C, N, M], tau 0-d or [C, N, M], positive [N]; got {got}")
    if heads not in ("separate", "joint"):
        raise ValueError(f"heads={heads!r} is none of separate, joint")
    score_CNM = _score(sim_CNM, tau, beta, eta)
    if heads == "joint":
        score_CNM, sim_CNM = score_CNM.sum(0, keepdim=True), sim_CNM.sum(0, keepdim=True)
    if negatives == "posterior" and positive_in_denominator:  # as below, fused and in place
        if excluded_NM is not None:
            score_CNM.masked_fill_(excluded_NM, -torch.inf)
        return F.cross_entropy(score_CNM.flatten(0, 1), positive_N.repeat(len(sim_CNM)))

    index_CN1 = positive_N.view(1, -1, 1).expand(len(sim_CNM), -1, 1)
    positive_CN1 = score_CNM.gather(2, index_CN1)
    column_M = torch.arange(sim_CNM.shape[2], device=sim_CNM.device)
    is_positive_NM = column_M == positive_N[:, None]
    barred_NM = is_positive_NM if excluded_NM is None else is_positive_NM | excluded_NM
    if negatives == "posterior":
        candidates = score_CNM.masked_fill(barred_NM, -torch.inf)
        return (candidates.logsumexp(2) - positive_CN1.squeeze(2)).mean()
    if negatives == "topk":
        k = min(top_k, sim_CNM.shape[2] - int(barred_NM.sum(1).max()))
        top_CNk = sim_CNM.detach().masked_fill(barred_NM, -torch.inf).topk(k, dim=2).indices
        candidates = score_CNM.gather(2, top_CNk)
        if positive_in_denominator:
            candidates = torch.cat([positive_CN1, candidates], dim=2)
        return (candidates.logsumexp(2) - positive_CN1.squeeze(2)).mean()
    if negatives == "max":
        barred = excluded_NM if positive_in_denominator else barred_NM
        masked = sim_CNM.detach() if barred is None else sim_CNM.detach().masked_fill(barred, -torch.inf)
        hardest_CN1 = score_CNM.gather(2, masked.argmax(2, keepdim=True))
        return (hardest_CN1 - positive_CN1).mean()
    raise ValueError(f"negatives={negatives!r} is none of posterior, topk, max")


def _score(sim_CNM: Tensor, tau: Tensor, beta: float, eta: float) -> Tensor:
    """a = s/τ − βΩ(τ), written (s − β)/τ − βη log τ: fewer passes over the pairs. A new tensor."""
    if tau.dim() == 0 or not beta:
        return sim_CNM / tau
    return ((sim_CNM - beta) / tau).sub_(tau.log(), alpha=beta * eta)
