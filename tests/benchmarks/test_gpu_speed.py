"""`benchmarks.training.gpu_speed` at a tiny size on a CPU: its figures, and what it counts as work."""

from __future__ import annotations

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.training import gpu_speed
from benchmarks.training.images import write_images
from training.run.trainer import Trainer

WORDS = ["backbone.width=4", "train.threads=1", "train.precision=fp32", "data.workers=0"]


@pytest.fixture
def spec(tmp_path):
    write_images(tmp_path, 16, 32)
    return f"folder:{tmp_path}"


def test_a_step_is_about_three_forward_passes(spec, tmp_path):
    config = gpu_speed._config(spec, 8, gpu_speed._parse(["--device", "cpu", *WORDS]))
    assert (config.backbone.stem, config.data.resident, config.train.batch_size) == ("cifar", "always", 8)
    trainer = Trainer(config, tmp_path / "run", None)
    views = torch.rand(16, 3, 32, 32)
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        trainer.method.model(views)
    assert 2.7 < gpu_speed._step_flops(trainer, views) / forward.get_total_flops() < 3.1
    trainer.reporter.close()


@pytest.mark.slow
def test_leaves_a_line_for_each_batch_size(spec, tmp_path):
    results = tmp_path / "speed.jsonl"
    words = ["--data", spec, "--device", "cpu", "--batch", "4,8", "--blocks", "1", "--steps", "1", "--no-compile"]
    assert gpu_speed.main([*words, "--results", str(results), "--commit", "abc", *WORDS]) == 0
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert [line["batch"] for line in lines] == [4, 8]
    for line in lines:
        assert (line["device"], line["commit"], line["of_peak"], line["compiled"]) == ("cpu", "abc", None, False)
        assert line["of_compute_bound"] == pytest.approx(line["end_to_end"] / line["compute_bound"], rel=0.01)
        assert line["gflops_an_image"] > 0
