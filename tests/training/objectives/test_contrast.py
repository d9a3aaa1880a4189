"""`contrast`, from embeddings to the loss: against loops over pairs in plain Python, and in chunks against whole."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from training.config import HeadsConfig, PairTemperatureConfig
from training.machine import distributed
from training.model.temperature import AdaptiveTemperature, ConstantTemperature
from training.objectives.contrastive import contrast

N, D = 6, 5
POSITIVE, OWN = torch.arange(N).roll(N // 2), torch.arange(N)
ADAPTIVE = PairTemperatureConfig(kind="adaptive", hidden=7, dim=4)
FORMS = [(n, p) for n in ("posterior", "topk", "max") for p in (True, False)]


def _rows(heads: int, rows: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(heads, rows, D, generator=generator, dtype=torch.float64), dim=-1)


def _adaptive(heads: int) -> AdaptiveTemperature:
    torch.manual_seed(0)
    module = AdaptiveTemperature(HeadsConfig(num=heads, dim=D), ADAPTIVE).double().eval()
    module.gain.data.uniform_(0.5, 2)
    module.bias.data.uniform_(-1, 1)
    module.bias.data.uniform_(-1, 1)
    module.centre.uniform_(-0.3, 0.3)
    return module


def _numpy_tau(module: AdaptiveTemperature | None, c: int, u: np.ndarray, v: np.ndarray) -> float:
    if module is None:
        return 0.2
    w = {name: value.detach().numpy() for name, value in module.state_dict().items()}

    def phi(z: np.ndarray) -> np.ndarray:
        out = w["phi.2.weight"] @ np.maximum(w["phi.0.weight"] @ z + w["phi.0.bias"], 0) + w["phi.2.bias"]
        return out / math.sqrt(sum(x * x for x in out))

    level = math.log(0.07 / 0.4) + w["bias"][c] - sum(w["bias"]) / len(w["bias"])
    logit = level - w["gain"][c] * (float(phi(u) @ phi(v)) - w["centre"][c])
    return float(0.03 + 0.47 / (1 + math.exp(-logit)))


def _transcription(
    z: np.ndarray, keys: np.ndarray, module: AdaptiveTemperature | None, own: bool, options: dict[str, Any]
) -> float:
    """Pair by pair: heads, anchors, candidates; a_n = s_n/τ_n − β(η log τ_n + 1/τ_n)."""
    beta, eta, total = options["beta"], options["eta"], 0.0
    juries = [[c] for c in range(len(z))] if options["heads"] == "separate" else [list(range(len(z)))]
    for jury in juries:
        for i in range(N):
            sim, score = {}, {}
            for n in range(keys.shape[1]):
                if own and n == i:
                    continue
                sim[n] = score[n] = 0.0
                for c in jury:
                    t = _numpy_tau(module, c, z[c, i], keys[c, n])
                    s = sum(float(x) * float(y) for x, y in zip(z[c, i], keys[c, n], strict=True))
                    sim[n] += s
                    score[n] += s / t - beta * (eta * math.log(t) + 1 / t)
            p = int(POSITIVE[i])
            others = sorted((n for n in sim if n != p), key=lambda n: -sim[n])
            with_p = [p] if options["positive_in_denominator"] else []
            if options["negatives"] == "max":
                total += score[max([*with_p, *others], key=lambda n: sim[n])] - score[p]
                continue
            kept = others[: options["top_k"]] if options["negatives"] == "topk" else others
            total += math.log(sum(math.exp(score[n]) for n in [*with_p, *kept])) - score[p]
    return total / (len(juries) * N)


@pytest.mark.parametrize(("negatives", "with_positive"), FORMS)
@pytest.mark.parametrize(("heads", "judges"), [(1, "separate"), (3, "separate"), (3, "joint")])
@pytest.mark.parametrize("kind", ["constant", "adaptive"])
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(("beta", "eta"), [(1.0, 4.0), (0.3, 1.0), (0.0, 1.0)])
def test_equals_loops_over_pairs(
    negatives: str, with_positive: bool, heads: int, judges: str, kind: str, own: bool, beta: float, eta: float
) -> None:
    options: dict[str, Any] = {
        "heads": judges,
        "beta": beta,
        "eta": eta,
        "negatives": negatives,
        "top_k": 2,
        "positive_in_denominator": with_positive,
    }
    z, keys = _rows(heads, N, 1), _rows(heads, N + 3, 2)
    keys = z if own else keys
    module = _adaptive(heads) if kind == "adaptive" else None
    ours = contrast(
        z, keys, POSITIVE, module or ConstantTemperature(0.2), own_N=OWN if own else None, chunk_elements=20, **options
    )
    assert ours.item() == pytest.approx(_transcription(z.numpy(), keys.numpy(), module, own, options), abs=1e-12)


@pytest.mark.parametrize(("negatives", "with_positive"), FORMS)
@pytest.mark.parametrize("kind", ["constant", "adaptive"])
def test_gradients_by_finite_differences(negatives: str, with_positive: bool, kind: str) -> None:
    module = _adaptive(2) if kind == "adaptive" else ConstantTemperature(0.2)
    names = [name for name, _ in module.named_parameters()]
    options: dict[str, Any] = {"negatives": negatives, "top_k": 2, "positive_in_denominator": with_positive}

    class Loss(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.temperature = module

        def forward(self, z: Tensor, keys: Tensor) -> Tensor:
            return contrast(z, keys, POSITIVE, module, beta=1.0, eta=4.0, **options)

    def of(z: Tensor, keys: Tensor, *weights: Tensor) -> Tensor:
        state = {f"temperature.{name}": value for name, value in zip(names, weights, strict=True)}
        return torch.func.functional_call(loss, state, (z, keys))  # type: ignore[no-any-return]

    loss = Loss()
    weights = (value.detach().clone().requires_grad_() for value in module.parameters())
    rows = (_rows(2, N, 3).requires_grad_(), _rows(2, N, 4).requires_grad_())
    assert torch.autograd.gradcheck(of, (*rows, *weights))


def _value_and_gradients(module: torch.nn.Module, z: Tensor, keys: Tensor | None, **options: Any) -> list[Tensor]:
    z = z.clone().requires_grad_()
    own = options.pop("own", OWN if keys is None else None)
    loss = contrast(z, z if keys is None else keys, POSITIVE, module, own_N=own, **options)  # type: ignore[arg-type]
    return [loss.detach(), *torch.autograd.grad(loss, [z, *module.parameters()])]


@pytest.mark.parametrize(("negatives", "with_positive"), FORMS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("with_keys", [True, False])
@pytest.mark.parametrize("judges", ["separate", "joint"])
def test_chunks_equal_the_whole(
    negatives: str, with_positive: bool, training: bool, with_keys: bool, judges: str
) -> None:
    options: dict[str, Any] = {
        "heads": judges,
        "beta": 1.0,
        "eta": 4.0,
        "negatives": negatives,
        "top_k": 2,
        "positive_in_denominator": with_positive,
    }
    keys = _rows(3, N + 2, 6) if with_keys else None
    found, centres = [], []
    for chunk in (1, 3 * 8 * 4, 2**25):  # one row, four rows and the rest, all
        module = _adaptive(3).train(training)
        found.append(_value_and_gradients(module, _rows(3, N, 5), keys, chunk_elements=chunk, **options))
        centres.append(module.centre)
        assert int(module.batches) == int(training)
    for other, centre in zip(found[:2], centres[:2], strict=True):
        torch.testing.assert_close(other, found[2], rtol=1e-12, atol=1e-12)
        assert torch.equal(centre, centres[2])


def test_two_losses_of_one_step_may_both_move_the_running_mean() -> None:
    module = _adaptive(3).train()
    z, keys = _rows(3, N, 1).requires_grad_(), _rows(3, N, 2)
    both = [contrast(a, b, OWN, module, beta=1.0, eta=4.0, chunk_elements=30) for a, b in ((z, keys), (keys, z))]
    torch.stack(both).sum().backward()
    assert int(module.batches) == 2
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


def test_candidates_may_be_left_out_for_another_reason() -> None:
    z, keys = _rows(2, N, 1), _rows(2, N + 3, 2)
    options: dict[str, Any] = {"beta": 1.0, "eta": 4.0, "chunk_elements": 20}
    out = (torch.arange(N + 3) < N) & (torch.arange(N + 3) != POSITIVE[:, None])
    ours = contrast(z, keys, POSITIVE, _adaptive(2), excluded_NM=out, **options)
    for i in range(N):  # each anchor by itself, with its own candidates only
        kept = ~out[i]
        column = int(kept[: int(POSITIVE[i])].sum())
        alone = contrast(z[:, i : i + 1], keys[:, kept], torch.tensor([column]), _adaptive(2), **options)
        ours = ours - alone / N
    assert abs(ours.item()) < 1e-12
    both = contrast(z, z, POSITIVE, _adaptive(2), own_N=OWN, excluded_NM=torch.zeros(N, N, dtype=torch.bool), **options)
    torch.testing.assert_close(both, contrast(z, z, POSITIVE, _adaptive(2), own_N=OWN, **options))


@pytest.mark.parametrize("heads", [1, 3])
def test_a_constant_temperature_is_the_standard_loss(heads: int) -> None:
    z = _rows(heads, N, 7).requires_grad_()
    logits = (z @ z.transpose(1, 2) / 0.2).masked_fill(torch.eye(N, dtype=torch.bool), -torch.inf)
    standard = F.cross_entropy(logits.flatten(0, 1), POSITIVE.repeat(heads))
    ours = contrast(z, z, POSITIVE, ConstantTemperature(0.2), own_N=OWN, beta=1.0, eta=4.0)
    assert torch.equal(ours, standard)
    assert torch.equal(*(torch.autograd.grad(loss, z)[0] for loss in (ours, standard)))


@pytest.mark.parametrize(("negatives", "with_positive"), FORMS)
def test_views_may_be_swapped_and_the_batch_reordered(negatives: str, with_positive: bool) -> None:
    z = _rows(3, N, 8)
    options: dict[str, Any] = {"negatives": negatives, "top_k": 2, "positive_in_denominator": with_positive}

    def loss(rows: Tensor) -> Tensor:
        return contrast(rows, rows, POSITIVE, _adaptive(3), own_N=OWN, beta=1.0, eta=4.0, **options)

    torch.testing.assert_close(loss(z.roll(N // 2, dims=1)), loss(z), rtol=1e-12, atol=1e-12)
    order = torch.tensor([2, 0, 1, 5, 3, 4])  # the same order of both views
    torch.testing.assert_close(loss(z[:, order]), loss(z), rtol=1e-12, atol=1e-12)


def test_the_posterior_is_bounded_below_and_known_at_collapse() -> None:
    z = _rows(3, N, 9)
    assert contrast(z, z, POSITIVE, _adaptive(3), own_N=OWN, beta=1.0, eta=4.0).item() >= 0
    same = _rows(3, 1, 9).expand(3, N, D)
    loss = contrast(same, same, POSITIVE, _adaptive(3), own_N=OWN, beta=1.0, eta=4.0)
    assert loss.item() == pytest.approx(math.log(N - 1))  # N − 2 negatives and the positive


@pytest.mark.parametrize(("negatives", "with_positive"), FORMS)
@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("gain", [1.0, 1e6, -1e6])  # ±1e6: every temperature at a bound
@pytest.mark.parametrize("rows", ["zero", "same", "opposite"])
def test_no_nan(negatives: str, with_positive: bool, autocast: bool, gain: float, rows: str) -> None:
    one = F.normalize(torch.ones(D), dim=0)
    z = {
        "zero": torch.zeros(2, N, D),
        "same": one.expand(2, N, D),
        "opposite": one * torch.tensor([1.0, -1.0]).repeat(N // 2)[:, None].expand(2, N, 1),
    }[rows]
    z = z.clone().requires_grad_()
    module = AdaptiveTemperature(HeadsConfig(num=2, dim=D), ADAPTIVE)
    module.gain.data.fill_(gain)
    module.centre.fill_(0.5)
    module.batches.fill_(1)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = contrast(  # type: ignore[call-overload,unused-ignore]
            z, z, POSITIVE, module, own_N=OWN, beta=1.0, eta=64.0, negatives=negatives, top_k=2,
            positive_in_denominator=with_positive, chunk_elements=50,
        )  # fmt: skip
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    for value in (z, *module.parameters()):
        assert value.grad is not None
        assert torch.isfinite(value.grad).all()


@pytest.mark.parametrize("chunk", [30, 2**25])
def test_autocast_around_the_forward_changes_nothing(chunk: int) -> None:
    found = []
    for autocast in (False, True):
        z, module = _rows(3, N, 1).float().requires_grad_(), _adaptive(3).float()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = contrast(z, z, POSITIVE, module, own_N=OWN, beta=1.0, eta=4.0, chunk_elements=chunk)
        found.append([loss, *torch.autograd.grad(loss, [z, *module.parameters()])])
    for plain, mixed in zip(*found, strict=True):
        assert torch.equal(plain, mixed)
    half = contrast(z.bfloat16(), z.bfloat16(), POSITIVE, module, own_N=OWN, beta=1.0, eta=4.0)
    assert half.dtype == torch.float32


def test_the_mean_is_that_of_the_candidates() -> None:
    z, keys = _rows(3, N, 1), _rows(3, N + 3, 2)
    out = (torch.arange(N + 3) < N) & (torch.arange(N + 3) != POSITIVE[:, None])
    cases = [
        (z, {}, torch.ones(N, N, dtype=torch.bool)),
        (z, {"own_N": OWN}, ~torch.eye(N, dtype=torch.bool)),
        (keys, {"excluded_NM": out}, ~out),
        (z, {"own_N": OWN, "excluded_NM": out[:, :N]}, ~out[:, :N] & ~torch.eye(N, dtype=torch.bool)),
    ]
    for candidates, barred, kept in cases:
        module = _adaptive(3).train()
        contrast(z, candidates, POSITIVE, module, beta=1.0, eta=4.0, **barred)
        inner = module.embed(z) @ module.embed(candidates).transpose(1, 2)
        torch.testing.assert_close(module.centre, inner[:, kept].mean(1).detach(), rtol=1e-12, atol=1e-12)


def test_the_running_mean_over_processes_is_that_of_the_joint_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    z, local = _rows(3, N, 1), []
    joint = _adaptive(3).train()
    contrast(z, z, POSITIVE, joint, own_N=OWN)
    monkeypatch.setattr(distributed, "mean", lambda value: local.append(value) or value)
    for part in (slice(0, N // 2), slice(N // 2, N)):  # anchors of two processes, the candidates of both
        contrast(z[:, part], z, POSITIVE[part], _adaptive(3).train(), own_N=OWN[part])
    torch.testing.assert_close(torch.stack(local).mean(0), joint.centre, rtol=1e-12, atol=1e-12)
