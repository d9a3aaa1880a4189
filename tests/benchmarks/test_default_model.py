"""The default model's run: a run in pieces, weights to move, and an export's command that export understands."""

from __future__ import annotations

import shlex

import pytest
import torch

from benchmarks.study import default_model
from benchmarks.study.budget import OutOfTime, read
from benchmarks.study.quality import measure
from benchmarks.training.images import write_images
from export.__main__ import _parser
from training.pretrain import main as pretrain
from training.run import checkpoint

WORDS = ["backbone.width=4", "train.batch_size=8", "train.threads=1", "train.precision=fp32", "heads.hidden=16"]


@pytest.fixture
def tiny(tmp_path):
    for part, count in (("train", 24), ("test", 8)):
        (tmp_path / "tiny" / part).mkdir(parents=True)
        write_images(tmp_path / "tiny" / part, count, 64)
    return tmp_path / "tiny"


def test_a_run_in_two_pieces_ends_with_its_weights_and_a_command(tiny, tmp_path, monkeypatch, capsys):
    limits = iter(("train.max_steps=2", "train.max_steps=0"))

    def piece(budget, run, words):
        limit = next(limits)
        resume = ["--resume"] if (run / checkpoint.FILE).exists() else []
        assert pretrain([*words, limit, f"--out={run}", *resume]) == 0
        if limit == "train.max_steps=2":
            raise OutOfTime

    def evaluated(budget, run, spec, *words):
        return measure(run, spec, knn_only=True, device="cpu")

    monkeypatch.setattr(default_model, "pretrain", piece)
    monkeypatch.setattr(default_model, "quality", evaluated)
    results = tmp_path / "results.jsonl"
    command = ["--data", str(tiny), "--device", "cpu", "--runs", str(tmp_path), "--results", str(results)]
    command += ["--epochs", "1", *WORDS]
    assert default_model.main(command) == default_model.OUT_OF_TIME
    assert read(results) == []
    assert default_model.main(command) == 0
    (line,) = read(results)
    assert (line["epochs"], line["step"], line["bank"], line["queries"]) == (1, 3, 24, 8)
    assert "linear_probe" not in line

    run = tmp_path / "default-model"
    whole, _ = checkpoint.load_model(run)
    slim, config = checkpoint.load_model(run / default_model.WEIGHTS)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), slim.state_dict().values(), strict=True))
    assert (config.heads.num, config.backbone.stem) == (3, "small")
    assert (run / default_model.WEIGHTS).stat().st_size < 0.7 * (run / checkpoint.FILE).stat().st_size

    printed = capsys.readouterr().out.partition("python -m export ")[2].replace("\\\n", " ")
    options = _parser().parse_args(shlex.split(printed))
    assert options.checkpoint == run / default_model.WEIGHTS
    assert options.images == tiny / "test"
    assert "1 epochs" in options.note[0]
    assert "non-commercial" in options.licence
