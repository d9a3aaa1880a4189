"""Each framework's loss against the formula of its paper, written out here from the views on (float64).

Only networks and random draws are the method's own; what is compared with what, and how it is weighed, is not.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.training.words import had_by
from training import config as configs
from training import methods
from training.config import recipes
from training.methods.base import Method, Step
from training.model.masking import draw_masks

IMAGES, PATCH = 6, 4
SMALL = [
    "data.image_size=16",
    "backbone.width=8",
    "heads.hidden=16",
    "heads.dim=8",
    "momentum.queue=20",
    "train.batch_size=6",
    "masked.decoder_width=8",
    "masked.decoder_depth=1",
]
VIT = [f"backbone.patch={PATCH}", "backbone.attention_heads=2", "backbone.depth=3"]
STEP = Step(number=3, progress=0.25, seed=5)


def _method(name: str, *settings: str, adaptive: bool = False, stage: int = 0) -> Method:
    """A method in float64 whose every parameter is drawn, so that no zero or equality of a fresh network hides a term.

    Its momentum encoder, if it has one, differs from the model.
    """
    config = recipes.adaptive(recipes.recipe(name)) if adaptive else recipes.recipe(name)
    small = had_by(config, SMALL + VIT if config.backbone.name == "vit" else SMALL)
    torch.manual_seed(0)
    method = methods.build(configs.validate(configs.override(config, [*small, *settings]))).double()
    method.enter(stage)
    _disturb(method)
    return method


@torch.no_grad()
def _disturb(module: nn.Module) -> None:
    for p in module.parameters():
        p.add_(0.3 * torch.randn_like(p))


def _fix_norms(method: Method) -> Method:
    """Batch norms as in evaluation, all else as in training: then a row does not depend on the others."""
    for part in method.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.eval()
    return method


def _spread_temperatures(method: Method) -> None:
    """A running mean other than zero, and gains at which a random network's pairs differ."""
    with torch.no_grad():
        method.model.temperature.centre.fill_(0.9)
        method.model.temperature.gain.mul_(5)


def _views() -> tuple[Tensor, Tensor]:
    one, two = torch.randn(2, IMAGES, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return one, two


def _query(method: Method, view: Tensor) -> Tensor:
    """The only head's unit-norm output [B, d']."""
    return F.normalize(method.model(view)[1][:, 0], dim=1)


def _patches(images: Tensor) -> Tensor:
    """[N, 3, S, S] -> [N, P, 3p²], patch by patch."""
    starts = range(0, images.shape[-1], PATCH)
    cut = [images[:, :, r : r + PATCH, c : c + PATCH].permute(0, 2, 3, 1).flatten(1) for r in starts for c in starts]
    return torch.stack(cut, dim=1)


def _normalised(patches: Tensor) -> Tensor:
    return (patches - patches.mean(2, keepdim=True)) / (patches.var(2, keepdim=True) + 1e-6).sqrt()


def _squared_error(predicted: Tensor, target: Tensor, rows: list[list[int]]) -> Tensor:
    """Mean over the patches that `rows` names for each image."""
    errors = [(predicted[n, p] - target[n, p]).square().mean() for n, patches in enumerate(rows) for p in patches]
    return torch.stack(errors).mean()


def _omega(tau: Tensor, eta: float) -> Tensor:
    return eta * tau.log() + 1 / tau


@pytest.mark.parametrize("symmetric", [False, True])
def test_moco_sets_a_querys_key_of_the_other_view_against_the_queue(symmetric: bool) -> None:
    tau = 0.3
    still = ["momentum.start=1", "momentum.end=1"]
    method = _fix_norms(_method("moco", f"momentum.symmetric={symmetric}", f"temperature.value={tau}", *still))
    queue, views = method.queue[0].clone(), _views()
    loss, _ = method(torch.cat(views), STEP)
    queries = [_query(method, view) for view in views]
    keys = [method.key(view)[0] for view in views]
    expected = []
    for q, k in [(queries[0], keys[1]), (queries[1], keys[0])][: 1 + symmetric]:
        logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], dim=1) / tau
        expected.append(F.cross_entropy(logits, torch.zeros(IMAGES, dtype=torch.long)))
    torch.testing.assert_close(loss, torch.stack(expected).mean())
    entered = torch.cat([keys[1], keys[0]] if symmetric else [keys[1]])
    torch.testing.assert_close(method.queue[0], torch.cat([entered, queue[len(entered) :]]))


def test_lgp_contrasts_each_view_with_the_others_key() -> None:
    tau = 0.3
    method = _method("lgp", f"temperature.value={tau}", "heads.predictor_hidden=16", stage=1).eval()
    one, two = _views()
    loss, _ = method(torch.cat([one, two]), STEP)
    own = torch.arange(IMAGES)
    forth = F.cross_entropy(_query(method, one) @ method.key(two)[0].T / tau, own)
    back = F.cross_entropy(_query(method, two) @ method.key(one)[0].T / tau, own)
    torch.testing.assert_close(loss, 2 * tau * (forth + back) / 2)


@pytest.mark.parametrize(("name", "stage"), [("moco", 0), ("lgp", 1)])
def test_the_momentum_encoder_moves_by_its_momentum_before_it_gives_keys(name: str, stage: int) -> None:
    method = _fix_norms(_method(name, "momentum.start=0.5", "momentum.end=0.5", stage=stage))
    half = {}
    for part, source in (("backbone", method.model.backbone), ("projectors", method.model.heads.projectors)):
        of = dict(source.named_parameters())
        for n, p in getattr(method.key, part).named_parameters():
            assert not torch.equal(p, of[n])
            half[f"{part}.{n}"] = (p + of[n]).detach() / 2
    one, two = _views()
    _, seen = method(torch.cat([one, two]), STEP)
    moved = dict(method.key.named_parameters())
    assert moved.keys() == half.keys()
    torch.testing.assert_close({n: p.detach() for n, p in moved.items()}, half)
    # MoCo shows its first direction, LGP its second.
    torch.testing.assert_close(seen.candidates, method.key(two if name == "moco" else one))


def test_lgps_first_stage_is_masked_reconstruction() -> None:
    method = _method("lgp")
    views = torch.cat(_views())
    loss, _ = method(views, STEP)
    keep, _ = draw_masks(len(views), 16, 0.75, STEP.generator(views.device))
    predicted = method.decoder(method.vit.tokens(views, keep), keep)
    hidden = [sorted(set(range(16)) - set(seen)) for seen in keep.tolist()]
    assert [len(patches) for patches in hidden] == [12] * len(views)
    torch.testing.assert_close(loss, _squared_error(predicted, _normalised(_patches(views)), hidden))


def test_simsiam_compares_predictions_with_the_other_views_projections() -> None:
    method = _method("simsiam", "heads.predictor_hidden=16")  # in training: each view has its own batch statistics
    one, two = _views()
    loss, _ = method(torch.cat([one, two]), STEP)
    h1, h2 = (method.model.heads.projectors[0](method.model.backbone(view)) for view in (one, two))
    z1, z2 = (method.model.heads.predictors[0](h) for h in (h1, h2))
    expected = -F.cosine_similarity(z1, h2).mean() / 2 - F.cosine_similarity(z2, h1).mean() / 2
    torch.testing.assert_close(loss, expected)


def test_barlow_twins_brings_the_views_correlation_to_the_identity() -> None:
    method = _method("barlow_twins", "loss.redundancy=0.02")  # in training: each view has its own batch statistics
    one, two = _views()
    loss, _ = method(torch.cat([one, two]), STEP)
    a, b = (method.model(view)[1][:, 0] for view in (one, two))
    a, b = ((z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt() for z in (a, b))
    expected = torch.zeros((), dtype=torch.float64)
    for l in range(8):  # noqa: E741
        for m in range(8):
            corr = (a[:, l] * b[:, m]).mean()
            expected = expected + ((1 - corr) ** 2 if l == m else 0.02 * corr**2)
    torch.testing.assert_close(loss, expected)


def test_can_weighs_contrast_reconstruction_and_noise() -> None:
    tau = 0.3
    method = _method("can", f"temperature.value={tau}").eval()
    views = torch.cat(_views())
    loss, _ = method(views, STEP)
    level, noise = method.draw_noise(views, STEP)
    keep, _ = draw_masks(len(views), 16, 0.5, STEP.generator(views.device))
    tokens = method.vit.tokens(views + noise, keep)
    image, predicted_noise = method.decoder(tokens, keep, level).split(3 * PATCH**2, dim=2)
    visible = keep.tolist()
    hidden = [sorted(set(range(16)) - set(seen)) for seen in visible]
    reconstruction = _squared_error(image, _normalised(_patches(views)), hidden)
    denoising = _squared_error(predicted_noise, _patches(noise), visible)
    z = F.normalize(method.model.heads(tokens.mean(1))[:, 0], dim=1)
    logits = (z @ z.T / tau).masked_fill(torch.eye(2 * IMAGES, dtype=torch.bool), -torch.inf)
    contrast = F.cross_entropy(logits, torch.arange(2 * IMAGES).roll(IMAGES))
    torch.testing.assert_close(loss, 0.03 * contrast + 0.67 * reconstruction + 0.30 * denoising)


def test_cans_noise_has_the_level_that_it_names() -> None:
    method = _method("can")
    level, noise = method.draw_noise(torch.zeros(400, 3, 16, 16, dtype=torch.float64), STEP)
    assert level.min() >= 0
    assert level.max() <= 0.05
    torch.testing.assert_close(level.mean(), torch.tensor(0.025, dtype=torch.float64), rtol=0, atol=0.003)
    torch.testing.assert_close(noise.std((1, 2, 3)), level, rtol=0.12, atol=0)  # of 768 numbers: ± 2.6 %


def test_adaptive_simclr_gives_every_head_and_pair_its_temperature() -> None:
    beta, eta = 0.7, 3.0
    method = _method("simclr", f"temperature.beta={beta}", f"temperature.eta={eta}", adaptive=True).eval()
    _spread_temperatures(method)
    views = torch.cat(_views())
    loss, _ = method(views, STEP)
    z = F.normalize(method.model(views)[1], dim=2)
    losses, temperatures = [], []
    for i in range(2 * IMAGES):
        others = [n for n in range(2 * IMAGES) if n != i]
        tau = method.model.temperature(z[i].expand(len(others), -1, -1), z[others])  # [2B − 1, C]
        a = (z[i] * z[others]).sum(2) / tau - beta * _omega(tau, eta)
        losses.append(a.exp().sum(0).log() - a[others.index((i + IMAGES) % (2 * IMAGES))])
        temperatures.append(tau)
    assert torch.stack(temperatures).std((0, 1)).min() > 0.01  # they do differ between pairs, in every head
    torch.testing.assert_close(loss, torch.stack(losses).mean())


def test_adaptive_simsiam_has_a_temperature_for_each_of_its_terms() -> None:
    beta, eta = 0.7, 3.0
    settings = (f"temperature.beta={beta}", f"temperature.eta={eta}", "heads.predictor_hidden=16")
    method = _method("simsiam", *settings, adaptive=True).eval()
    _spread_temperatures(method)
    one, two = _views()
    loss, _ = method(torch.cat([one, two]), STEP)
    h1, h2 = (method.model.heads.projectors[0](method.model.backbone(view)) for view in (one, two))
    expected = torch.zeros((), dtype=torch.float64)
    for c, predictor in enumerate(method.model.heads.predictors):
        for h, target in ((h1, h2), (h2, h1)):
            z, t = F.normalize(predictor(h), dim=1), F.normalize(target, dim=1)
            tau = method.model.temperature(z[:, None].expand(-1, 3, -1), t[:, None].expand(-1, 3, -1))[:, c]
            assert tau.std() > 0.01
            expected = expected + (-(z * t).sum(1) / tau / 2 + beta * _omega(tau, eta)).mean() / 3
    torch.testing.assert_close(loss, expected)
