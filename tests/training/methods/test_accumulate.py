"""A batch in parts has the loss and the gradients of the whole one, for every method."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.training.words import had_by
from training import config as configs
from training import methods
from training.config import recipes
from training.methods.base import Method, Step
from training.model.backbones.vit import ViT

SMALL = ["data.image_size=8", "backbone.width=4", "heads.hidden=12", "heads.dim=6", "momentum.queue=24"]
VIT = ["backbone.width=8", "backbone.depth=2", "backbone.attention_heads=2", "backbone.patch=2"]
VIT += ["masked.decoder_width=8", "masked.decoder_depth=1", "masked.decoder_heads=2", "masked.epochs=1"]


def _method(name: str, accumulate: int, *, adaptive: bool = False, norms: bool = False) -> Method:
    config = recipes.recipe(name)
    config = recipes.adaptive(config) if adaptive else config
    words = [*SMALL, *(VIT if config.backbone.name == "vit" else []), f"train.accumulate={accumulate}"]
    config = configs.override(config, had_by(config, words))
    torch.manual_seed(0)
    method = methods.build(config).double()
    for module in () if norms else list(method.modules()):
        for child_name, child in module.named_children():
            if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
                setattr(module, child_name, nn.Identity())
    return method


def _views(images: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    same = torch.rand(images, 3, 8, 8, generator=generator, dtype=torch.float64)
    return torch.cat([0.7 * same + 0.3 * torch.rand(same.shape, generator=generator).double() for _ in range(2)])


def _step(method: Method, images: int = 7) -> tuple[Tensor, dict[str, Tensor]]:
    loss, _ = method(_views(images), Step(3, 0.3, 0))
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in method.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("name", list(recipes.RECIPES))
def test_the_gradients_are_those_of_the_whole_batch(name: str, adaptive: bool) -> None:
    for stage in range(len(_method(name, 1).stages())):
        found = []
        for accumulate in (1, 3):
            method = _method(name, accumulate, adaptive=adaptive)
            method.enter(stage)
            rows: list[int] = []
            parts = method.model.backbone.norm if isinstance(method.model.backbone, ViT) else method.model.backbone
            parts.register_forward_hook(lambda _, __, out, rows=rows: rows.append(len(out)))
            found.append(_step(method))
            assert len(rows) > 1 or accumulate == 1
            assert max(rows) <= (14 if accumulate == 1 else 5)
        (whole, gradients), (loss, parted) = found
        torch.testing.assert_close(loss, whole, rtol=1e-12, atol=1e-14)
        assert gradients.keys() == parted.keys()
        assert any(name.startswith("model.backbone.") and bool(g.any()) for name, g in parted.items())
        for key, gradient in gradients.items():
            torch.testing.assert_close(parted[key], gradient, rtol=1e-9, atol=1e-13, msg=key)


def test_running_means_move_once_for_each_part() -> None:
    method = _method("simclr", 2, norms=True)
    plain = _method("simclr", 1, norms=True)
    _step(method, images=6)
    with torch.no_grad():
        for part in _views(6).tensor_split(2):
            plain.model.backbone(part)
    for name, value in plain.model.backbone.state_dict().items():
        torch.testing.assert_close(method.model.backbone.state_dict()[name], value, msg=name)


def test_less_is_kept_for_the_way_back() -> None:
    def kept(accumulate: int) -> int:
        sizes: dict[int, int] = {}

        def note(x: Tensor) -> Tensor:
            sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
            loss, _ = _method("simclr", accumulate)(_views(32), Step(0, 0.0, 0))
        assert loss.isfinite()
        return sum(sizes.values())

    assert kept(4) < kept(1) / 4
