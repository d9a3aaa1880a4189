"""Weights from files: read without running code, matched by name and shape, all of a network's or none."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from training.config import BackboneConfig
from training.model import backbones
from training.model.backbones import state_dicts


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('code from a state dict ran')",))


def small() -> nn.Module:
    """A ResNet-18 of the program's own, four channels wide."""
    return backbones.build(BackboneConfig(width=4), 32)[0]


def other(seed: int = 1) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return small().state_dict()


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("prefix", "nested"),
    [
        ("", []),
        ("module.", ["state_dict"]),
        ("backbone.", ["teacher"]),
        ("module.encoder_q.", ["state_dict"]),
        ("", ["model", "state_dict"]),
    ],
)
def test_weights_are_found_where_programs_keep_them(tmp_path: Path, prefix: str, nested: list[str]) -> None:
    weights = other()
    saved: Any = {prefix + name: value for name, value in weights.items()}
    saved |= {f"{prefix}fc.weight": torch.ones(10, 32), f"{prefix}fc.bias": torch.ones(10)}
    for key in reversed(nested):
        saved = {"epoch": 3, key: saved, "optimizer": {"state": {}}}
    torch.save(saved, tmp_path / "weights.pth")
    network = small()
    report = state_dicts.load_matching(network, state_dicts.read(tmp_path / "weights.pth"))
    assert equal(dict(network.state_dict()), weights)
    assert set(report.matched) == set(weights)
    assert report.missing == ()
    assert report.unexpected == ("fc.weight", "fc.bias")
    assert report.prefix == prefix


def test_safetensors_in_half_precision_and_without_counters(tmp_path: Path) -> None:
    weights = {name: value.half() for name, value in other().items() if not name.endswith("num_batches_tracked")}
    save_file(weights, tmp_path / "weights.safetensors")
    network = small()
    report = state_dicts.load_matching(network, state_dicts.read(tmp_path / "weights.safetensors"))
    assert torch.equal(network.state_dict()["conv1.weight"], weights["conv1.weight"].float())
    assert report.missing
    assert all(name.endswith("num_batches_tracked") for name in report.missing)


def _change(weights: dict[str, Tensor], how: str) -> dict[str, Tensor]:
    if how == "another shape":
        return weights | {"conv1.weight": torch.zeros(4, 3, 7, 7)}
    if how == "one missing":
        return {name: value for name, value in weights.items() if name != "layer3.0.conv1.weight"}
    if how == "a deeper one":
        return weights | {"layer3.2.conv1.weight": torch.zeros(16, 16, 3, 3)}
    if how == "not finite":
        return weights | {"layer1.0.bn1.bias": torch.full((4,), torch.nan)}
    return {"transformer.wte.weight": torch.ones(3, 4)}


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("another shape", r"other shapes: conv1.weight \(\[4, 3, 7, 7\] there, \[4, 3, 3, 3\] here\)"),
        ("one missing", "missing: layer3.0.conv1.weight"),
        ("a deeper one", "unknown to the network: layer3.2.conv1.weight"),
        ("not finite", "not finite: layer1.0.bn1.bias"),
        ("no match", "no name fits: it holds transformer.wte.weight; the network has conv1.weight"),
    ],
)
def test_weights_of_another_network_are_refused_and_change_nothing(how: str, says: str) -> None:
    network = small()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=says):
        state_dicts.load_matching(network, _change(other(), how))
    assert equal(dict(network.state_dict()), before)


def test_resnet34_is_no_resnet18() -> None:
    network = models.resnet18()
    network.fc = nn.Identity()  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"unknown to the network: layer1\.2\.conv1\.weight"):
        state_dicts.load_matching(network, models.resnet34().state_dict())


def test_files_that_hold_no_weights_say_so_and_run_nothing(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    with pytest.raises(ValueError, match="there is no file"):
        state_dicts.read(path)
    path.write_bytes(b"not weights")
    with pytest.raises(ValueError, match="no state dict saved by PyTorch"):
        state_dicts.read(path)
    torch.save({"state_dict": other(), "more": Evil()}, path)
    with pytest.raises(ValueError, match="Python objects beside tensors"):
        state_dicts.read(path)
    torch.save({"state_dict": other(), "args": argparse.Namespace(lr=1)}, path)
    with pytest.raises(ValueError, match="Python objects beside tensors"):
        state_dicts.read(path)
    for nothing in ({"epoch": 3}, [torch.ones(2)], torch.ones(2)):
        torch.save(nothing, path)
        with pytest.raises(ValueError, match="no tensors by name"):
            state_dicts.read(path)
    wrong = tmp_path / "weights.safetensors"
    wrong.write_bytes(b"not weights")
    with pytest.raises(ValueError, match="no safetensors file"):
        state_dicts.read(wrong)
