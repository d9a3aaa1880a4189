"""What a step shows of the run: similarities, temperatures, signs of collapse."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from amcl_serve.metrics.geometry import effective_rank, feature_spread
from training.config import TemperatureConfig
from training.methods.base import Seen
from training.model.temperature import AdaptiveTemperature, Temperature

_RANK_ROWS = 512  # of a batch, for the effective rank
_ANCHORS = 256  # of a batch, for similarities and temperatures


@torch.no_grad()
def statistics(seen: Seen, temperature: Temperature, config: TemperatureConfig) -> dict[str, float]:
    """Numbers of one step.

    Of the features: spread times √D (1 when they fill the sphere, 0 at collapse) and effective rank. Of the heads, if
    the stage has them: similarities of positive and negative pairs, alignment and uniformity (Wang & Isola 2020), and
    of adaptive temperatures the mean, the spread between pairs and the share within 1 % of a bound.
    """
    out = {name: float(value) for name, value in seen.numbers.items()}
    features = seen.features[:_RANK_ROWS].float().cpu().numpy()
    out["feature_spread"] = feature_spread(features) * math.sqrt(features.shape[1])
    out["effective_rank"] = effective_rank(features)
    if seen.anchors is None or seen.candidates is None or seen.positive is None:
        return out
    z_CND, positive_N = seen.anchors[:, :_ANCHORS], seen.positive[:_ANCHORS]
    sim_CNM = (z_CND @ seen.candidates.transpose(1, 2)).float()
    column_M = torch.arange(sim_CNM.shape[2], device=sim_CNM.device)
    is_positive = column_M == positive_N[:, None]
    is_negative = ~is_positive if seen.own is None else ~is_positive & (column_M != seen.own[:_ANCHORS, None])
    negatives = sim_CNM[:, is_negative]
    out["positive_similarity"] = float(sim_CNM[:, is_positive].mean())
    out["negative_similarity"] = float(negatives.mean())
    out["alignment"] = 2 - 2 * out["positive_similarity"]  # ‖a − b‖² of unit vectors
    out["uniformity"] = float((4 * negatives - 4).exp().mean().log())
    if isinstance(temperature, AdaptiveTemperature):
        training = temperature.training
        tau_CNM = temperature.eval().pairwise(z_CND, seen.candidates).float()  # looking changes no running mean
        temperature.train(training)
        for name, chosen in (("tau_positive", is_positive), ("tau_negative", is_negative)):
            out |= _of_temperatures(name, tau_CNM[:, chosen], config)
    return out


def _of_temperatures(name: str, tau_CP: Tensor, config: TemperatureConfig) -> dict[str, float]:
    width = 0.01 * (config.high - config.low)
    at_bound = (tau_CP < config.low + width) | (tau_CP > config.high - width)
    numbers = {
        name: float(tau_CP.mean()),
        f"{name}_spread": float(tau_CP.std(dim=1).mean()),
        f"{name}_at_bound": float(at_bound.float().mean()),
    }
    return numbers | {f"{name}_head{head}": float(tau.mean()) for head, tau in enumerate(tau_CP)}


def collapse(numbers: Mapping[str, float]) -> str | None:
    """A sentence when the numbers of `statistics` look like collapse, else None."""
    negative = numbers.get("negative_similarity", 0.0)
    if negative > 0.9:
        return f"collapse: negatives are as alike as positives (mean similarity {negative:.2f})"
    if numbers["feature_spread"] < 0.1:
        return f"collapse: features hardly differ between images (spread {numbers['feature_spread']:.3f} of 1)"
    if numbers["effective_rank"] < 2:
        return f"collapse: features lie on a line (effective rank {numbers['effective_rank']:.1f})"
    return None


def stuck(numbers: Mapping[str, float]) -> str | None:
    """A sentence when nearly all temperatures are at their bounds, which is no collapse but nothing adaptive either."""
    if min(numbers.get(f"tau_{kind}_at_bound", 0.0) for kind in ("positive", "negative")) > 0.95:
        return "temperatures stick to their bounds: widen temperature.low/high or change temperature.eta"
    return None
