"""The six frameworks as a whole: what holds for each of them, and what only one of them promises."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models import ResNet

from tests.training.words import had_by
from training import config as configs
from training import methods
from training.config import recipes
from training.methods.base import Method, Step
from training.objectives.negative_cosine import negative_cosine_loss
from training.run import optim

SMALL = [
    "data.image_size=16",
    "backbone.width=8",
    "heads.hidden=16",
    "heads.dim=8",
    "momentum.queue=32",
    "train.batch_size=8",
    "masked.decoder_width=8",
    "masked.decoder_depth=1",
]
VIT = ["backbone.patch=4", "backbone.attention_heads=2", "backbone.depth=3"]
CASES = [(name, stage) for name in recipes.RECIPES for stage in range(2 if name == "lgp" else 1)]
FROZEN = {  # beginnings of the names of what does not learn; keys come from a moving average
    ("moco", 0): ("key.",),
    ("lgp", 0): ("key.", "model.heads.", "model.temperature."),
    ("lgp", 1): ("key.", "decoder.", "model.backbone.patch_embedding."),
}
STEP = Step(number=3, progress=0.25, seed=5)


def _config(name: str, *settings: str, adaptive: bool = False) -> configs.Config:
    config = recipes.recipe(name)
    small = had_by(config, SMALL + VIT if config.backbone.name == "vit" else SMALL)
    config = recipes.adaptive(config) if adaptive else config
    return configs.validate(configs.override(config, [*small, *settings]))


def _method(name: str, *settings: str, adaptive: bool = False, stage: int = 0) -> Method:
    torch.manual_seed(0)
    method = methods.build(_config(name, *settings, adaptive=adaptive))
    method.enter(stage)
    return method


def _views(images: int = 8) -> Tensor:
    return torch.randn(2 * images, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "stage"), CASES)
@pytest.mark.parametrize("adaptive", [False, True])
def test_gradients_reach_what_learns_and_nothing_else(name: str, stage: int, adaptive: bool) -> None:
    method = _method(name, adaptive=adaptive, stage=stage)
    optimiser = torch.optim.Adam([p for p in method.parameters() if p.requires_grad])
    for _ in range(2):  # after a step, since a layer that starts at zero hides what lies before it
        optimiser.zero_grad()
        method(_views(), STEP)[0].backward()
        optimiser.step()
    silent = {n for n, p in method.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())}
    # Barlow Twins' correlation takes the projectors' last biases away: rounding alone is left of their gradients.
    assert {n for n in silent if not (n.startswith("model.heads.projectors.") and n.endswith("bias"))} == set()
    frozen = {n for n, p in method.named_parameters() if not p.requires_grad}
    assert frozen == {n for n, _ in method.named_parameters() if n.startswith(FROZEN.get((name, stage), ()))}
    built = optim.build(method, method.rate, _config(name).train)
    learning = {id(p) for group in built.param_groups for p in group["params"]}
    assert learning == {id(p) for n, p in method.named_parameters() if n not in frozen}


@pytest.mark.parametrize(("name", "stage"), CASES)
@pytest.mark.parametrize("adaptive", [False, True])
def test_steps_reduce_the_loss_on_one_batch(name: str, stage: int, adaptive: bool) -> None:
    method = _method(name, adaptive=adaptive, stage=stage)
    optimiser = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    queue = method.queue.clone() if name == "moco" else None
    for _ in range(12):
        if queue is not None:
            method.queue = queue  # as the batch's own keys fill it, the negatives become harder and the loss rises
        loss, _ = method(_views(), STEP)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert sum(losses[-4:]) < sum(losses[:4])


@pytest.mark.parametrize("name", ["simclr", "simsiam", "barlow_twins"])
@pytest.mark.parametrize("adaptive", [False, True])
def test_views_may_be_swapped_and_the_batch_reordered(name: str, adaptive: bool) -> None:
    method = _method(name, adaptive=adaptive).double().eval()
    x = _views().double()
    one, _ = method(x, STEP)
    swapped, _ = method(x.roll(8, dims=0), STEP)
    order = torch.tensor([3, 1, 5, 0, 2, 4, 7, 6])
    moved, _ = method(x[torch.cat([order, order + 8])], STEP)
    torch.testing.assert_close(swapped, one)
    torch.testing.assert_close(moved, one)


@pytest.mark.parametrize(("name", "stage"), CASES)
def test_mixed_precision_keeps_the_loss_in_float32_and_finite(name: str, stage: int) -> None:
    method = _method(name, adaptive=True, stage=stage)
    with torch.autocast("cpu", torch.bfloat16):
        loss, seen = method(_views(), STEP)
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert seen.anchors is None or seen.anchors.dtype == torch.float32


@pytest.mark.parametrize(("name", "stage"), CASES)
def test_a_step_is_a_function_of_state_views_and_its_number(name: str, stage: int) -> None:
    one, two = _method(name, adaptive=True, stage=stage), _method(name, adaptive=True, stage=stage)
    torch.rand(7)  # the global generator has no part in it
    assert torch.equal(one(_views(), STEP)[0], two(_views(), STEP)[0])


@pytest.mark.parametrize("name", list(recipes.RECIPES))
def test_images_of_nothing_give_finite_gradients(name: str) -> None:
    method = _method(name, adaptive=True)
    method(torch.zeros(16, 3, 16, 16), STEP)[0].backward()
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)


def test_one_head_and_a_constant_temperature_is_published_simclr() -> None:
    method = _method("simclr", "temperature.value=0.5")
    loss, _ = method(_views(6), STEP)
    _, heads = method.model(_views(6))
    z = F.normalize(heads[:, 0], dim=1)
    logits = (z @ z.T / 0.5).masked_fill(torch.eye(12, dtype=torch.bool), -torch.inf)
    expected = F.cross_entropy(logits, torch.tensor([6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5]))
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)


def test_one_head_and_a_constant_temperature_is_published_moco() -> None:
    method = _method("moco", "momentum.symmetric=false", "momentum.start=0", "temperature.value=0.2").double()
    queue = method.queue.clone()
    q = F.normalize(method.model(_views()[:8].double())[1][:, 0], dim=1)
    loss, seen = method(_views().double(), STEP)
    k = seen.candidates[0]  # of the momentum encoder
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue[0].T], dim=1) / 0.2
    torch.testing.assert_close(loss, F.cross_entropy(logits, torch.zeros(8, dtype=torch.long)))
    torch.testing.assert_close(method.queue[:, :8], k[None])
    assert torch.equal(method.queue[:, 8:], queue[:, 8:])


def test_mocos_queue_forgets_the_oldest_first() -> None:
    method = _method("moco", "momentum.queue=24")  # 16 keys a step: the second step wraps round
    method(_views(), STEP)
    first = method.queue.clone()
    method(_views(), STEP)
    assert not torch.equal(method.queue[:, 16:], first[:, 16:])
    assert not torch.equal(method.queue[:, :8], first[:, :8])
    assert torch.equal(method.queue[:, 8:16], first[:, 8:16])
    assert int(method.place) == 32 % 24


def test_mocos_keys_come_back_in_their_order() -> None:
    method = _method("moco").eval()  # evaluation: parts and shuffling change nothing
    torch.testing.assert_close(method.keys(_views()[:8], STEP), method.key(_views()[:8]))


@pytest.mark.parametrize("images", [3, 13])
def test_moco_takes_a_batch_that_its_parts_do_not_divide(images: int) -> None:
    method, sizes = _method("moco"), []
    method.key.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    loss, seen = method(_views(images), STEP)
    assert min(sizes) >= 2  # a batch norm needs two
    assert sum(sizes) == 2 * images
    assert seen.candidates.shape == (1, images, 8)
    assert loss.isfinite()


def test_simsiam_stops_the_targets_gradient() -> None:
    method = _method("simsiam").double()
    with torch.no_grad():
        for predictor in method.model.heads.predictors:
            predictor[-1].weight.zero_()
            predictor[-1].bias.fill_(1.0)  # predictions that depend on nothing
    method(_views().double(), STEP)[0].backward()
    assert all(not p.grad.any() for p in method.model.backbone.parameters() if p.grad is not None)


def test_a_momentum_copy_is_compiled_too(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(ResNet, "compile", lambda self, **_: seen.append(self))
    method = _method("moco")
    method.compile_backbones()
    assert seen == [method.model.backbone, method.key.backbone]


def test_simsiams_predictors_learn_as_fast_as_a_lone_one() -> None:
    method = _method("simsiam", "heads.num=3")
    rates = {name: method.rate(name) for name, _ in method.named_parameters()}
    predictors = {name for name in rates if ".predictors." in name}
    assert {rates[name] for name in predictors} == {3.0}
    assert {rate for name, rate in rates.items() if name not in predictors} == {1.0}
    one, three = (_predictor_step(_method("simsiam", f"heads.num={num}")) for num in (1, 3))
    torch.testing.assert_close(three, one)


def _predictor_step(method: Method) -> Tensor:
    """The first predictor's change in a step, when all predictors are alike."""
    predictors = method.model.heads.predictors
    for predictor in predictors:
        predictor.load_state_dict(predictors[0].state_dict())
    before = predictors[0][0].weight.detach().clone()
    torch.manual_seed(0)
    for p in method.model.backbone.parameters():
        torch.nn.init.normal_(p, std=0.1)
    for p in method.model.heads.projectors.parameters():
        torch.nn.init.normal_(p, std=0.1)
    train = _config("simsiam", "train.weight_decay=0").train
    optimiser = optim.build(method, method.rate, train)
    for group in optimiser.param_groups:
        group["lr"] = group["rate"]
    method(_views(), STEP)[0].backward()
    optimiser.step()
    return predictors[0][0].weight.detach() - before


@pytest.mark.parametrize("similarity", [0.0, 0.5, 1.0])
def test_simsiams_temperatures_rest_near_the_standard_one(similarity: float) -> None:
    t = recipes.adaptive(recipes.recipe("simsiam")).temperature
    tau = torch.tensor([[t.value]], requires_grad=True)
    optimiser = torch.optim.SGD([tau], lr=0.1)
    sim = torch.tensor([[similarity]])
    for _ in range(300):
        optimiser.zero_grad()
        negative_cosine_loss(sim, sim, tau, tau, beta=t.beta, eta=t.eta).backward()
        optimiser.step()
    assert 0.9 < tau.item() < 1.2


def test_simsiam_needs_predictors() -> None:
    with pytest.raises(ValueError, match="predictor_hidden='0' must be at least 1"):
        _method("simsiam", "heads.predictor_hidden=0")


def test_the_second_stage_of_lgp_grafts_onto_the_first() -> None:
    method = _method("lgp")
    with torch.no_grad():
        for p in method.model.backbone.parameters():
            p.add_(0.1)
    method.enter(1)
    mine, key = method.model.backbone.state_dict(), method.key.backbone.state_dict()
    assert all(torch.equal(mine[name], key[name]) for name in mine)
    assert method.rate("model.backbone.blocks.0.qkv.weight") == method.rate("model.backbone.blocks.1.qkv.weight") == 0.1
    assert method.rate("model.backbone.blocks.2.qkv.weight") == method.rate("model.heads.projectors.0.0.weight") == 1
    assert not method.model.backbone.patch_embedding.weight.requires_grad


def test_masks_and_noise_change_from_step_to_step() -> None:
    method = _method("can")
    losses = {float(method(_views(), Step(number, 0.1, 5))[1].numbers["noise"]) for number in range(3)}
    assert len(losses) == 3
