"""The decoder of masked images: where tokens go, what each output depends on, and the noise's level."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from training.config import MaskedConfig
from training.model.decoder import Decoder, NoiseLevel
from training.model.masking import random_keep

CONFIG = MaskedConfig(decoder_width=16, decoder_depth=2, decoder_heads=4)


def decoder(*, noise_max: float | None = None) -> Decoder:
    torch.manual_seed(0)
    return Decoder(16, 10, CONFIG, 6, noise_max=noise_max).double()


def tokens(count: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    keep, hidden = random_keep(count, 16, 0.75, generator)
    return torch.randn(*keep.shape, 10, dtype=torch.float64, generator=generator), keep, hidden


def test_tokens_stand_at_their_places_and_mask_tokens_elsewhere() -> None:
    network = decoder()
    x, keep, hidden = tokens()
    entered = []
    network.blocks[0].register_forward_pre_hook(lambda _, args: entered.append(args[0]))
    assert network(x, keep).shape == (3, 16, 6)
    content = entered[0] - network.position
    for image in range(3):
        for place, patch in enumerate(keep[image].tolist()):
            torch.testing.assert_close(content[image, patch], network.entry(x[image, place]))
        for patch in hidden[image].nonzero().flatten().tolist():
            torch.testing.assert_close(content[image, patch], network.mask_token)


def test_the_order_of_tokens_does_not_matter_and_their_places_do() -> None:
    network = decoder()
    x, keep, _ = tokens()
    out = network(x, keep)
    torch.testing.assert_close(network(x.flip(1), keep.flip(1)), out, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(network(x, keep.flip(1)), out)


def test_hidden_patches_are_told_apart_by_place_and_learn_from_the_seen_ones() -> None:
    network = decoder()
    x, keep, hidden = tokens()
    x.requires_grad_()
    out = network(x, keep)
    rows = out[0][hidden[0]]
    assert torch.pdist(rows.detach()).min() > 1e-4
    rows.sum().backward()
    assert x.grad is not None
    assert x.grad[0].abs().min() > 0
    assert not x.grad[1:].any()
    assert network.mask_token.grad is not None
    assert network.mask_token.grad.any()


def test_the_noise_level_is_felt_over_its_whole_range() -> None:
    torch.manual_seed(0)
    level = NoiseLevel(64, 0.05)
    sigma = torch.linspace(0, 0.05, 11)
    waves = []
    level.mlp.register_forward_pre_hook(lambda _, args: waves.append(args[0]))
    out = level(sigma)
    assert out.shape == (11, 64)
    raw = F.normalize(waves[0], dim=1) @ F.normalize(waves[0], dim=1).T
    assert raw.fill_diagonal_(0).max() < 0.9  # every tenth of the range looks different from every other
    # Against the bug this guards from: the usual frequencies, at most 1, of a raw σ.
    usual = sigma[:, None] * 10000.0 ** -(torch.arange(32) / 32)
    usual = torch.cat([usual.sin(), usual.cos()], 1)
    assert F.cosine_similarity(usual[0], usual[-1], dim=0) > 0.999
    assert (out[0] - out[-1]).norm() > 0.3 * out.norm(dim=1).mean()


def test_without_noise_every_level_is_the_same() -> None:
    out = NoiseLevel(16, 0.0)(torch.tensor([0.0, 0.0]))
    assert out.isfinite().all()
    assert torch.equal(out[0], out[1])


def test_a_decoder_told_the_noise_answers_to_it() -> None:
    network = decoder(noise_max=0.05)
    x, keep, _ = tokens()
    quiet, loud = (network(x, keep, torch.full((3,), sigma, dtype=torch.float64)) for sigma in (0.0, 0.05))
    assert quiet.shape == (3, 16, 6)
    assert (quiet - loud).abs().mean() > 0.05 * quiet.abs().mean()
    with pytest.raises(AssertionError):
        network(x, keep)
    with pytest.raises(AssertionError):
        decoder()(x, keep, torch.zeros(3))


def test_mixed_precision_runs_and_every_parameter_learns() -> None:
    network = decoder(noise_max=0.05).float()
    x, keep, _ = tokens()
    with torch.autocast("cpu", torch.bfloat16):
        out = network(x.float(), keep, torch.tensor([0.0, 0.02, 0.05]))
    out.float().square().mean().backward()
    assert {n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()} == set()


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not divide"):
        Decoder(16, 10, MaskedConfig(decoder_width=16, decoder_heads=3), 6)
