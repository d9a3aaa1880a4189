"""Two processes take the steps of one with the joint batch, whatever the method: gradients, weights and buffers.

Every case runs through the trainer's own step, in float64 and without batch norm (each process has its own statistics
on CPU), once here and once in two processes that meet over gloo; the two are started once for all cases.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Mapping
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from tests.training.words import had_by
from training import config as configs
from training import methods
from training.config import Config, recipes
from training.machine import distributed
from training.methods.base import Method
from training.run.trainer import RunFailed, Trainer

pytestmark = pytest.mark.slow  # a minute of both cores; test_distributed_command trains in two processes too

BATCH, SIDE, STEPS = 8, 8, 12  # images of both processes, pixels, steps of a stage
PATIENCE = 240  # seconds; the machine may be busy
SMALL = [
    f"data.image_size={SIDE}",
    "train.device=cpu",
    "train.precision=fp32",
    "train.threads=1",
    f"train.batch_size={BATCH}",
    f"train.epochs={STEPS // 3}",  # of the 24 images
    f"masked.epochs={STEPS // 3}",
    "train.lr=0.01",
    "train.warmup_epochs=0",
    "train.clip_norm=0",
    "backbone.width=4",
    "heads.hidden=12",
    "heads.dim=6",
    "temperature.hidden=5",
    "temperature.dim=4",
    "momentum.queue=24",
    "heads.predictor_hidden=7",
]
VIT = [
    "backbone.width=8",
    "backbone.depth=3",
    "backbone.attention_heads=2",
    "backbone.patch=2",
    "masked.decoder_width=8",
    "masked.decoder_depth=1",
    "masked.decoder_heads=2",
]

# name: recipe, whether adaptive, keys
CASES: Mapping[str, tuple[str, bool, list[str]]] = {
    f"{recipe}-{'adaptive' if adaptive else 'standard'}": (recipe, adaptive, [])
    for recipe in recipes.RECIPES
    for adaptive in (False, True)
} | {
    "simclr-topk": ("simclr", True, ["loss.negatives=topk", "loss.top_k=3"]),
    "simclr-max": ("simclr", True, ["loss.negatives=max"]),
    "simclr-positive-apart": ("simclr", True, ["loss.positive_in_denominator=false"]),
    "moco-topk-positive-apart": (
        "moco",
        True,
        ["loss.negatives=topk", "loss.top_k=3", "loss.positive_in_denominator=false", "momentum.symmetric=false"],
    ),
    "can-max": ("can", True, ["loss.negatives=max"]),
    "lgp-topk": ("lgp", True, ["loss.negatives=topk", "loss.top_k=3"]),
    "simclr-joint": ("simclr", True, ["loss.heads=joint", "temperature.value=0.3"]),
    "simclr-views": ("simclr", True, ["temperature.of=views"]),
    "simclr-similarity": ("simclr", True, ["temperature.of=similarity"]),
    "moco-joint": ("moco", True, ["loss.heads=joint", "temperature.value=0.3"]),
    "lgp-joint": ("lgp", True, ["loss.heads=joint", "temperature.value=0.3"]),
    "can-joint": ("can", True, ["loss.heads=joint", "temperature.value=0.3"]),
    "simclr-chunks": ("simclr", True, []),
    "moco-chunks": ("moco", True, []),
    "simclr-clipped": ("simclr", True, ["train.clip_norm=0.001"]),
    "simclr-accumulated": ("simclr", True, ["train.accumulate=2"]),
    "can-accumulated": ("can", True, ["train.accumulate=2"]),
    "moco-lars": ("moco", True, ["train.optimiser=lars"]),
}
NOT_A_NUMBER = ("simclr", "moco", "simsiam", "barlow_twins", "can")

Numbers = dict[str, Tensor]


def _config(recipe: str, adaptive: bool, keys: list[str]) -> Config:
    config = recipes.recipe(recipe)
    small = had_by(config, [*SMALL, *(VIT if config.backbone.name == "vit" else [])])
    return configs.override(recipes.adaptive(config) if adaptive else config, [*small, *keys])


def _views(step: int) -> Tensor:
    """Two views [2, B, 3, S, S] of all processes' images."""
    generator = torch.Generator().manual_seed(step)
    images = torch.rand(1, BATCH, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    return 0.7 * images + 0.3 * torch.rand(2, *images.shape[1:], generator=generator, dtype=torch.float64)


def _mine(views: Tensor) -> Tensor:
    """This process's rows of both views, [2b, 3, S, S]."""
    b = BATCH // distributed.world_size()
    return views[:, distributed.rank() * b :][:, :b].flatten(0, 1)


def _in_float64_without_batch_norm(config: Config, *, chunks: bool = False) -> Method:
    method = methods.METHODS[config.recipe](config).double()
    for module in list(method.modules()):
        for name, child in module.named_children():
            if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
                setattr(module, name, nn.Identity())
    if chunks:  # one anchor at a time
        method.contrast = partial(method.contrast, chunk_elements=1)
    return method


def _trainer(case: str, folder: Path, out: Path) -> Trainer:
    config = configs.override(_config(*CASES[case]), [f"data.spec=folder:{folder}"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "build", partial(_in_float64_without_batch_norm, chunks=case.endswith("chunks")))
        return Trainer(config, out / case, None)


def _run(case: str, folder: Path, out: Path) -> Numbers:
    """Losses and gradients of every step, and the state at the end of each stage."""
    trainer, found = _trainer(case, folder, out), Numbers()
    names = {parameter: name for name, parameter in trainer.method.named_parameters()}

    def keep(*_: object) -> None:
        for parameter, name in names.items():
            if parameter.grad is not None:
                found[f"gradient {trainer.step} {name}"] = parameter.grad.clone()

    for stage, end in enumerate(trainer.ends):
        if stage:
            trainer.enter(stage)
        trainer.optimiser.register_step_pre_hook(keep)
        while trainer.step < end:
            loss, _ = trainer.train_step(_mine(_views(trainer.step)))
            found[f"loss {trainer.step}"] = distributed.mean(loss)
            trainer.step += 1
        found |= {f"state {stage} {name}": value.clone() for name, value in trainer.method.state_dict().items()}
    trainer.reporter.close()
    return found


def _skips(recipe: str, folder: Path, out: Path) -> Numbers:
    """How far the state is from what it was after a step with a NaN in the last process's images, by its names."""
    trainer = _trainer(f"{recipe}-adaptive", folder, out / "nan")
    trainer.train_step(_mine(_views(0)))
    before = {name: value.clone() for name, value in trainer.method.state_dict().items()}
    views = _views(1)
    views[0, -1, 0, 0, 0] = torch.nan
    trainer.step = 1
    trainer.train_step(_mine(views))
    after = trainer.method.state_dict()
    found = {name: (after[name] != before[name]).any() for name in after if not name.startswith("key.")}
    found["skipped"] = torch.tensor(trainer.skipped)
    trainer.step = 2
    trainer.train_step(_mine(_views(2)))
    found["skipped after a good one"] = torch.tensor(trainer.skipped)
    try:
        for _ in range(9):
            trainer.train_step(_mine(views))
    except RunFailed:
        found["skipped at the end"] = torch.tensor(trainer.skipped)
    return found


def _all(folder: Path, out: Path) -> dict[str, Numbers | str]:
    """Every case's numbers, or what went wrong."""
    results: dict[str, Numbers | str] = {}
    for case in CASES:
        try:
            results[case] = _run(case, folder, out)
        except Exception:  # reported by the case
            results[case] = traceback.format_exc()
    for recipe in NOT_A_NUMBER:
        try:
            results[f"nan {recipe}"] = _skips(recipe, folder, out)
        except Exception:
            results[f"nan {recipe}"] = traceback.format_exc()
    return results


def _process(rank: int, folder: Path, out: Path) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{out / 'meeting'}", rank=rank, world_size=2)
    torch.save(_all(folder, out), out / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def runs(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Numbers | str], list[dict[str, Numbers | str]]]:
    """What one process finds, and what each of two finds."""
    out = tmp_path_factory.mktemp("two")
    context = multiprocessing.get_context("spawn")
    two: list[BaseProcess] = [context.Process(target=_process, args=(rank, folder, out)) for rank in range(2)]
    for process in two:
        process.start()
    try:
        alone = _all(folder, tmp_path_factory.mktemp("one"))
        for process in two:
            process.join(PATIENCE)
            assert process.exitcode == 0
    finally:
        for process in two:
            process.kill()
    return alone, [torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_are_one(
    case: str, runs: tuple[dict[str, Numbers | str], list[dict[str, Numbers | str]]]
) -> None:
    alone, *two = (_numbers(results[case]) for results in (runs[0], *runs[1]))
    assert alone.keys() == two[0].keys() == two[1].keys()
    stages = 2 if case.startswith("lgp") else 1
    assert sum(name.startswith("loss") for name in alone) == stages * STEPS
    assert max(float(value.abs().max()) for name, value in alone.items() if name.startswith("gradient")) > 1e-6
    for name, value in alone.items():
        assert torch.equal(two[0][name], two[1][name]), name
        assert float((two[0][name] - value).abs().max() if value.numel() else 0) < 1e-9, name  # NaN is not below it


def _numbers(result: Numbers | str) -> Numbers:
    assert not isinstance(result, str), result
    return result


@pytest.mark.parametrize("recipe", NOT_A_NUMBER)
def test_all_processes_leave_out_a_step_that_one_cannot_take(
    recipe: str, runs: tuple[dict[str, Numbers | str], list[dict[str, Numbers | str]]]
) -> None:
    for results in (runs[0], *runs[1]):
        found = _numbers(results[f"nan {recipe}"]).copy()
        assert found.pop("skipped") == 1
        assert found.pop("skipped after a good one") == 0
        assert found.pop("skipped at the end") == 5
        assert [name for name, changed in found.items() if changed] == []
