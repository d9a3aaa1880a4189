from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from training.run import checkpoint


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('code from a checkpoint ran')",))


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / checkpoint.FILE, {"config": {}, "step": 3, "weights": {"w": torch.ones(2)}})
    for path in (tmp_path, tmp_path / checkpoint.FILE):
        state = checkpoint.load(path)
        assert state["step"] == 3
        assert torch.equal(state["weights"]["w"], torch.ones(2))
    assert list(tmp_path.iterdir()) == [tmp_path / checkpoint.FILE]


def test_a_failed_write_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path / checkpoint.FILE, {"config": {}, "step": 1})
    monkeypatch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(RuntimeError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(tmp_path / checkpoint.FILE, {"config": {}, "step": 2})
    assert checkpoint.load(tmp_path)["step"] == 1
    assert list(tmp_path.iterdir()) == [tmp_path / checkpoint.FILE]


def test_foreign_files_are_refused_and_run_nothing(tmp_path: Path) -> None:
    path = tmp_path / checkpoint.FILE
    with pytest.raises(ValueError, match="no checkpoint at"):
        checkpoint.load(tmp_path)
    torch.save({"format": "amcl-checkpoint", "version": 1, "step": Evil()}, path)
    with pytest.raises(ValueError, match="damaged"):
        checkpoint.load(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="damaged"):
        checkpoint.load(path)
    torch.save({"weights": torch.ones(1)}, path)
    with pytest.raises(ValueError, match="not a checkpoint of this program"):
        checkpoint.load(path)
    torch.save({"format": "amcl-checkpoint", "version": 99}, path)
    with pytest.raises(ValueError, match="version 99"):
        checkpoint.load(path)


@pytest.mark.parametrize("links", [True, False])
def test_the_last_ones_are_kept_by_their_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    def refuse(*_: object) -> None:
        raise OSError("this file system has no links")

    if not links:
        monkeypatch.setattr(os, "link", refuse)

    def steps() -> dict[str, int]:
        return {path.name: checkpoint.load(path)["step"] for path in tmp_path.iterdir()}

    for step in (1, 2, 3, 4, 4):
        checkpoint.save(tmp_path / checkpoint.FILE, {"config": {}, "step": step}, keep=3)
    assert steps() == {checkpoint.FILE: 4, "checkpoint-3.pt": 3, "checkpoint-2.pt": 2}
    checkpoint.save(tmp_path / checkpoint.FILE, {"config": {}, "step": 3}, keep=3)  # gone on with from step 2
    assert steps() == {checkpoint.FILE: 3, "checkpoint-2.pt": 2}
    checkpoint.save(tmp_path / checkpoint.FILE, {"config": {}, "step": 5}, keep=2)
    assert steps() == {checkpoint.FILE: 5, "checkpoint-3.pt": 3}
    checkpoint.save(tmp_path / checkpoint.FILE, {"config": {}, "step": 6})
    assert steps() == {checkpoint.FILE: 6}
