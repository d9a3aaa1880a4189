"""The vision transformer: its pieces against loops, masked encoding, dtypes, and its parameters."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from torch import nn

from training.config import BackboneConfig
from training.model import backbones
from training.model.backbones import ViT
from training.model.backbones.vit import Block, attention, patchify, positions

CONFIG = BackboneConfig(name="vit", width=24, depth=3, attention_heads=3, patch=4)


def images(count: int = 2, side: int = 16) -> torch.Tensor:
    return torch.randn(count, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def network() -> ViT:
    torch.manual_seed(0)
    vit = ViT(CONFIG, 16).double()
    with torch.no_grad():
        for parameter in vit.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))  # biases and norms that tell
    return vit


def test_patchify_cuts_row_by_row() -> None:
    x = images()
    patches = patchify(x, 4)
    assert patches.shape == (2, 16, 48)
    for row in range(4):
        for column in range(4):
            square = x[1, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            assert torch.equal(patches[1, 4 * row + column], square.permute(1, 2, 0).flatten())
    assert torch.equal(patchify(x.to(memory_format=torch.channels_last), 4), patches)


def test_positions_in_closed_form() -> None:
    table = positions(5, 12)
    assert table.shape == (25, 12)
    assert table.dtype == torch.float32
    for row in range(5):
        for column in range(5):
            waves = [10000 ** (-i / 3) for i in range(3)]
            expected = [f(place * w) for place in (column, row) for f in (math.sin, math.cos) for w in waves]
            np.testing.assert_allclose(table[5 * row + column], expected, atol=1e-6)
    with pytest.raises(ValueError, match="multiple of 4"):
        positions(5, 10)


def test_a_block_is_attention_then_mlp_written_out() -> None:
    torch.manual_seed(0)
    block = Block(8, 2).double()
    x = torch.randn(1, 5, 8, dtype=torch.float64)
    normed = block.norm1(x)[0]
    q, k, v = (normed @ w.T + b for w, b in zip(block.qkv.weight.chunk(3), block.qkv.bias.chunk(3), strict=True))
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        rows = []
        for i in range(5):
            scores = torch.stack([q[i, head] @ k[j, head] / 2 for j in range(5)]).softmax(0)
            rows.append(sum(scores[j] * v[j, head] for j in range(5)))
        heads.append(torch.stack(rows))
    middle = x[0] + block.out(torch.cat(heads, 1))
    expected = middle + block.mlp(block.norm2(middle))
    torch.testing.assert_close(block(x)[0], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_attention_is_its_formula_in_value_and_gradient(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(2, 3, 7, 4, dtype=torch.float64, generator=generator) for _ in range(3)]
    q, k, v = (part.clone().requires_grad_() for part in inputs)
    ((q @ k.transpose(2, 3) / 2).softmax(-1) @ v).square().sum().backward()
    fast = [part.to(dtype).requires_grad_() for part in inputs]
    attention(*fast).square().sum().backward()
    for mine, exact in zip(fast, (q, k, v), strict=True):
        assert mine.grad is not None
        assert exact.grad is not None
        error = (mine.grad.double() - exact.grad).norm() / exact.grad.norm()
        assert error < (0.02 if dtype is torch.bfloat16 else 1e-6)


def test_features_are_the_mean_of_the_tokens() -> None:
    vit, x = network(), images()
    assert (vit.num_patches, vit.patch, vit.depth) == (16, 4, 3)
    tokens = vit.tokens(x)
    assert tokens.shape == (2, 16, 24)
    torch.testing.assert_close(vit(x), tokens.mean(1))
    network_, dim = backbones.build(CONFIG, 16)
    assert isinstance(network_, ViT)
    assert dim == 24


def test_keeping_every_patch_is_keeping_all_in_any_order() -> None:
    vit, x = network(), images()
    order = torch.stack([torch.randperm(16, generator=torch.Generator().manual_seed(i)) for i in range(2)])
    found = vit.tokens(x, order)
    whole = vit.tokens(x)
    for image in range(2):
        torch.testing.assert_close(found[image], whole[image][order[image]], rtol=1e-10, atol=1e-10)


def test_hidden_patches_are_not_seen() -> None:
    vit, x = network(), images()
    keep = torch.tensor([[0, 3, 9], [1, 2, 15]])
    changed = x.clone()
    hidden = torch.ones(2, 16, dtype=torch.bool).scatter(1, keep, False)
    for image, patch in hidden.nonzero().tolist():
        row, column = divmod(patch, 4)
        changed[image, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 7.0
    tokens = vit.tokens(x, keep)
    assert tokens.shape == (2, 3, 24)
    assert torch.equal(tokens, vit.tokens(changed, keep))
    assert not torch.allclose(vit(x), vit(changed))
    changed[0, 0, 0, 0] += 1.0  # of a kept patch
    assert not torch.allclose(tokens[0], vit.tokens(changed, keep)[0])


def test_layout_and_mixed_precision_give_the_same_features() -> None:
    vit, x = network(), images()
    reference = vit(x)
    vit, x = vit.float(), x.float()
    torch.testing.assert_close(vit(x).double(), reference, rtol=1e-4, atol=1e-4)
    last = x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(vit.to(memory_format=torch.channels_last)(last), vit(x))  # type: ignore[call-overload]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = vit(last)
    assert torch.nn.functional.cosine_similarity(mixed.double(), reference).min() > 0.999
    mixed.float().square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in vit.parameters())


def test_initial_weights_are_maes() -> None:
    torch.manual_seed(0)
    vit = ViT(BackboneConfig(name="vit", width=96, depth=2, attention_heads=3, patch=4), 16)
    for name, part in vit.named_modules():
        if isinstance(part, nn.Linear):
            bound = math.sqrt(6 / sum(part.weight.shape))
            assert 0.95 * bound < part.weight.abs().max().item() <= bound * (1 + 1e-6), name
            assert not part.bias.any()


def test_parameters_know_their_block() -> None:
    vit = network()
    found = {name: vit.block_of(name) for name, _ in vit.named_parameters()}
    assert {found[n] for n in found if n.startswith("blocks.2.")} == {2}
    assert {block for block in found.values() if block is not None} == {0, 1, 2}
    assert {n for n, block in found.items() if block is None} == {
        "patch_embedding.weight",
        "patch_embedding.bias",
        "norm.weight",
        "norm.bias",
    }
    with pytest.raises(AssertionError):
        vit.block_of("backbone.blocks.2.qkv.weight")  # not of this network: silence would freeze it


def test_a_checkpoint_holds_no_positions() -> None:
    file = io.BytesIO()
    torch.save(network().state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    assert "position" not in state
    ViT(CONFIG, 32).load_state_dict(state)  # another image size: the same weights


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not tile an image of 18"):
        ViT(CONFIG, 18)
    with pytest.raises(ValueError, match="do not divide a token's width"):
        ViT(BackboneConfig(name="vit", width=28, depth=1, attention_heads=3, patch=4), 16)
