"""Runs that begin from weights that exist, of networks by name; and the weights that runs leave."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision import models

from tests.training.command import SMALL, losses, train
from training.pretrain import main
from training.run import checkpoint, journal
from training.run.weights import FILE

RESNET18 = ["backbone.stem=imagenet", "backbone.width=64", "data.image_size=32"]
TIMM = "timm:test_resnet"
NAMED = [word for word in SMALL if not word.startswith("backbone.")] + ["data.image_size=32"]


def begin(folder: Path, out: Path, *words: str, recipe: str = "simclr", small: list[str] = SMALL) -> int:
    return main([recipe, *small, *words, f"--data=folder:{folder}", f"--out={out}"])


def train_named(folder: Path, out: Path, name: str, *words: str, recipe: str = "simclr") -> int:
    return begin(folder, out, f"backbone.name={name}", *words, recipe=recipe, small=NAMED)


def backbone(run: Path) -> dict[str, Tensor]:
    return checkpoint.load_model(run)[0].backbone.state_dict()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State dicts as the libraries save them."""
    root = tmp_path_factory.mktemp("weights")
    torch.manual_seed(5)
    torch.save(models.resnet18().state_dict(), root / "resnet18.pth")
    torch.save({"state_dict": models.mobilenet_v3_small().state_dict()}, root / "mobilenet_v3_small.pth")
    save_file(timm.create_model("test_resnet").state_dict(), root / "test_resnet.safetensors")
    return root


CASES = {
    "our ResNet from torchvision": ("resnet18.pth", ["simclr", *SMALL, *RESNET18]),
    "torchvision's": ("mobilenet_v3_small.pth", ["simclr", *NAMED, "backbone.name=torchvision:mobilenet_v3_small"]),
    "timm's": ("test_resnet.safetensors", ["moco", *NAMED, f"backbone.name={TIMM}", "momentum.queue=40"]),
}


@pytest.mark.parametrize("case", list(CASES))
def test_a_run_begins_from_a_state_dict_and_resumes_exactly(
    folder: Path, tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    file, words = CASES[case]
    start = [*words, "--adaptive", f"--data=folder:{folder}", f"--init={files / file}", "train.precision=fp32"]
    assert main([*start, f"--out={tmp_path / 'whole'}", "train.max_steps=2"]) == 0
    said = capsys.readouterr().out
    assert f"weights from {file}" in said
    assert "none missing, not used: " in said
    assert main([*start, f"--out={tmp_path / 'parts'}", "train.max_steps=1"]) == 0
    assert main(["--resume", f"--out={tmp_path / 'parts'}", "train.max_steps=2"]) == 0
    assert len(losses(tmp_path / "whole")) == 2
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    digest = hashlib.sha256((files / file).read_bytes()).hexdigest()
    recorded = json.loads((tmp_path / "parts" / "config.json").read_text())["train"]
    assert (recorded["init"], recorded["init_hash"]) == (file, digest)
    first = journal.read(tmp_path / "parts")[0]
    assert (first["step"], first["init"], first["sha256"]) == (0, file, digest)
    last = "classifier.3" if "mobilenet" in file else "fc"
    assert set(first["not_used"]) == {f"{last}.weight", f"{last}.bias"}
    assert set(first["matched"]) == set(backbone(tmp_path / "parts"))


def test_weights_and_momentum_copy_are_those_of_the_file(folder: Path, tmp_path: Path, files: Path) -> None:
    # A rate of next to nothing: after a step the weights are still those of the file.
    words = [f"--init={files / 'test_resnet.safetensors'}", "train.lr=1e-30", "train.max_steps=1"]
    assert train_named(folder, tmp_path, TIMM, *words, recipe="moco") == 0
    given, state = load_file(files / "test_resnet.safetensors"), checkpoint.load(tmp_path)["method"]
    for name in ("conv1.0.weight", "layer4.0.conv1.weight"):
        for place in ("model.backbone", "key.backbone"):
            torch.testing.assert_close(state[f"{place}.{name}"], given[name])


def test_a_run_begins_from_another_run(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    still = ["train.lr=1e-30", "train.max_steps=1"]
    begin(folder, tmp_path / "old", "train.seed=7", *still, "--adaptive")
    for source in (tmp_path / "old", tmp_path / "old" / checkpoint.FILE):
        out = tmp_path / f"new {source.name}"
        assert begin(folder, out, "--adaptive", *still, f"--init={source}", recipe="moco") == 0
        said = capsys.readouterr().out
        assert "weights from old/checkpoint.pt" in said
        assert "heads: taken over" in said
        assert "temperature: taken over" in said
        old, new = (checkpoint.load(run)["method"] for run in (tmp_path / "old", out))
        for name in ("model.backbone.conv1.weight", "model.heads.projectors.2.0.weight"):
            torch.testing.assert_close(new[name], old[name])
    assert begin(folder, tmp_path / "wider", *still, f"--init={tmp_path / 'old'}", "--adaptive", "heads.dim=4") == 0
    assert "heads: fresh, its shape is another" in capsys.readouterr().out
    assert begin(folder, tmp_path / "left", *still, f"--init={tmp_path / 'old' / FILE}") == 0
    capsys.readouterr()
    assert begin(folder, tmp_path / "other", *still, f"--init={tmp_path / 'old'}", "backbone.stem=cifar") == 2
    said = capsys.readouterr().err
    assert said == "error: --init old/checkpoint.pt: it is of another network. That run has backbone.stem=small\n"
    assert begin(folder, tmp_path / "other", f"--init={tmp_path / 'old'}", "backbone.name=resnet34") == 2
    said = capsys.readouterr().err
    assert "missing: layer1.2.conv1.weight" in said
    assert said.endswith("That run has backbone.name=resnet18\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--init={files}/nothing.pth"], "there is no file"),
        (["--init={files}"], "no checkpoint at"),
        (["--init={files}/garbage.pth"], "no state dict saved by PyTorch"),
        (["--init={files}/garbage.safetensors"], "no safetensors file"),
        (["--init={files}/resnet18.pth"], "Torchvision's resnet18 is backbone.stem=imagenet backbone.width=64"),
        (["--init={files}/resnet18.pth", "backbone.name=vit", "backbone.width=12", "backbone.patch=4"], "no name fits"),
        (["--init={files}/resnet18.pth", *RESNET18, "backbone.name=resnet34"], "missing: layer1.2.conv1.weight"),
        (["can", "--init={files}/resnet18.pth"], "no name fits"),
        (["train.init=somewhere"], "are set by --init"),
        (["train.keep_norms=true"], "keeps what --init brings"),
        (["backbone.name=torchvision:resnet18"], "has a shape of its own; leave out backbone.width"),
        (["backbone.name=resnet19"], "none of resnet18, resnet34, resnet50, vit, torchvision:NAME, timm:NAME"),
        (["can", "backbone.name=timm:resnet18"], "can hides patches from a ViT of its own"),
    ],
)
def test_what_cannot_be_begun_from_says_why(
    folder: Path, tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    for name in ("garbage.pth", "garbage.safetensors"):
        (files / name).write_bytes(b"no weights")
    vit = ["data.image_size=16", "backbone.attention_heads=1", "backbone.depth=1", "backbone.width=4"]
    vit += ["backbone.patch=4"]
    small = [word for word in SMALL if "backbone" not in word] + vit if words[0] == "can" else SMALL
    command = [word.format(files=files) for word in words]
    assert main([command[0], *small, f"--data=folder:{folder}", f"--out={tmp_path / 'run'}", *command[1:]]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["backbone.name=timm:vit_tiny_patch16_224", "data.early_size=16"], "224 does not take images"),
        (["backbone.name=timm:nothing"], "no network of the timm installed here"),
    ],
)
def test_a_network_that_cannot_be_used_says_why(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert main([f"--data=folder:{folder}", f"--out={tmp_path / 'run'}", *NAMED, *words]) == 2
    assert says in capsys.readouterr().err


def test_resume_begins_from_nothing_else(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(folder, tmp_path, "train.max_steps=1")
    assert main(["--resume", f"--out={tmp_path}", f"--init={tmp_path}"]) == 2
    assert "leave one of them out" in capsys.readouterr().err


def test_a_named_networks_normalisation_is_its_own(folder: Path, tmp_path: Path) -> None:
    assert train_named(folder, tmp_path / "own", "timm:test_vit", "train.max_steps=1") == 0
    assert checkpoint.load_model(tmp_path / "own")[1].data.mean == (0.5, 0.5, 0.5)
    words = ["train.max_steps=1", "data.mean=0.1,0.2,0.3"]
    assert train_named(folder, tmp_path / "given", "timm:test_vit", *words) == 0
    data = checkpoint.load_model(tmp_path / "given")[1].data
    assert (data.mean, data.std) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))


@pytest.mark.slow
def test_norms_keep_what_the_file_brought_and_the_rest_learns(folder: Path, tmp_path: Path, files: Path) -> None:
    given = load_file(files / "test_resnet.safetensors")
    words = [f"--init={files / 'test_resnet.safetensors'}", "train.epochs=2", f"--eval=folder:{folder}"]
    words += ["train.keep_norms=true", "momentum.queue=40", "train.precision=fp32"]
    assert train_named(folder, tmp_path / "whole", TIMM, *words, recipe="moco") == 0
    assert train_named(folder, tmp_path / "parts", TIMM, *words, "train.max_steps=4", recipe="moco") == 0
    assert main(["--resume", f"--out={tmp_path / 'parts'}", "train.max_steps=0"]) == 0
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")  # with verdicts in between
    state = checkpoint.load(tmp_path / "parts")["method"]
    for place in ("model.backbone", "key.backbone"):
        for name in ("conv1.1.running_mean", "layer4.0.bn1.running_var"):
            assert torch.equal(state[f"{place}.{name}"], given[name])
        assert not torch.equal(state[f"{place}.conv1.1.weight"], given["conv1.1.weight"])
    assert train_named(folder, tmp_path / "new", TIMM, *words[:-3], "train.max_steps=1") == 0
    assert not torch.equal(backbone(tmp_path / "new")["conv1.1.running_mean"], given["conv1.1.running_mean"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU wants a C++ compiler")
def test_a_compiled_named_network_takes_the_same_steps(folder: Path, tmp_path: Path) -> None:
    words = ["momentum.queue=40", "train.precision=fp32", "train.max_steps=2"]
    for out, more in (("plain", "false"), ("compiled", "true")):
        assert train_named(folder, tmp_path / out, TIMM, *words, f"train.compile={more}", recipe="moco") == 0
    plain, compiled = losses(tmp_path / "plain"), losses(tmp_path / "compiled")
    assert plain != compiled  # it is other code
    assert compiled == pytest.approx(plain, rel=1e-4)


def test_what_a_run_leaves_loads_into_torchvision_and_timm_in_a_line(folder: Path, tmp_path: Path) -> None:
    last = ["train.max_steps=2"]
    assert begin(folder, tmp_path / "ours", *RESNET18, *last) == 0
    network = models.resnet18()
    answer = network.load_state_dict(load_file(tmp_path / "ours" / FILE), strict=False)
    assert answer.missing_keys == ["fc.weight", "fc.bias"]
    assert answer.unexpected_keys == []
    assert torch.equal(network.conv1.weight, backbone(tmp_path / "ours")["conv1.weight"])
    assert train_named(folder, tmp_path / "timm", TIMM, *last) == 0
    timm.create_model("test_resnet", num_classes=0).load_state_dict(load_file(tmp_path / "timm" / FILE))
    network = timm.create_model("test_resnet", num_classes=0, checkpoint_path=str(tmp_path / "timm" / FILE))
    assert torch.equal(network.conv1[0].weight, backbone(tmp_path / "timm")["conv1.0.weight"])
    with safe_open(tmp_path / "timm" / FILE, "pt") as file:
        assert file.metadata()["backbone"] == TIMM
        assert file.metadata()["mean"] == "0.5,0.5,0.5"
    assert len({(tmp_path / "timm" / name).stat().st_mode for name in (FILE, checkpoint.FILE)}) == 1


def test_the_last_checkpoints_are_kept_and_any_is_gone_on_with(folder: Path, tmp_path: Path) -> None:
    keep = ["train.checkpoint_every=1", "train.keep=3", "train.epochs=2"]
    assert train(folder, tmp_path, *keep) == 0
    assert {path.name for path in tmp_path.glob("checkpoint*")} == {
        checkpoint.FILE,
        "checkpoint-4.pt",
        "checkpoint-5.pt",
    }
    assert [checkpoint.load(tmp_path / f"checkpoint-{step}.pt")["step"] for step in (4, 5)] == [4, 5]
    whole = losses(tmp_path)
    assert main(["--resume", f"--out={tmp_path / 'checkpoint-4.pt'}", "train.max_steps=5"]) == 0
    assert losses(tmp_path) == {step: loss for step, loss in whole.items() if step <= 5}
    assert checkpoint.load(tmp_path)["step"] == 5
    assert {path.name for path in tmp_path.glob("checkpoint*")} == {checkpoint.FILE, "checkpoint-4.pt"}
    assert main(["--resume", f"--out={tmp_path}", "train.max_steps=0"]) == 0
    assert losses(tmp_path) == whole
