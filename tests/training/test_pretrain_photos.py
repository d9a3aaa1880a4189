"""The command on photographs: its cache, and the length of its schedule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.images import photo
from tests.training.command import losses, train
from training.pretrain import main
from training.run import checkpoint


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 JPEGs of 300 x 200, which are reduced to 192 x 128."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(16):
        (root / f"{number:02d}.jpg").write_bytes(photo(number, (300, 200)))
    return root


def test_runs_share_a_cache_and_see_the_same_as_without(photos: Path, tmp_path: Path) -> None:
    shared = ["train.epochs=2", f"--cache={tmp_path / 'shared'}"]
    assert train(photos, tmp_path / "none", "train.epochs=2", "data.cache_gib=0") == 0
    assert not (tmp_path / "none" / "cache").exists()
    assert train(photos, tmp_path / "own", "train.epochs=2") == 0
    assert list((tmp_path / "own" / "cache").glob("*.sqlite"))
    assert train(photos, tmp_path / "cold", *shared) == 0
    assert train(photos, tmp_path / "warm", *shared, "train.max_steps=2") == 0
    assert main(["--resume", f"--out={tmp_path / 'warm'}", "train.max_steps=0", "data.workers=2"]) == 0
    assert train(photos, tmp_path / "whole", "train.epochs=2", "data.reduce=never") == 0
    found = {name: losses(tmp_path / name) for name in ("none", "own", "cold", "warm", "whole")}
    assert found["none"] == found["own"] == found["cold"] == found["warm"] != found["whole"]
    assert not (tmp_path / "cold" / "cache").exists()


def test_a_run_from_before_photographs_were_reduced_goes_on_with_whole_ones(photos: Path, tmp_path: Path) -> None:
    assert train(photos, tmp_path / "whole", "train.epochs=2", "data.reduce=never") == 0
    assert train(photos, tmp_path / "parts", "train.epochs=2", "data.reduce=never", "train.max_steps=2") == 0
    state = checkpoint.load(tmp_path / "parts")
    for key in ("reduce", "cache", "cache_gib"):
        del state["config"]["data"][key]
    old = {name: part for name, part in state.items() if name not in ("format", "version", "config_hash")}
    checkpoint.save(tmp_path / "parts" / checkpoint.FILE, old)
    assert main(["--resume", f"--out={tmp_path / 'parts'}", "train.max_steps=0"]) == 0
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


@pytest.mark.parametrize("name", ["file", "file/cache"])
def test_a_cache_that_cannot_be_is_one_line(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "file").write_text("")
    assert train(photos, tmp_path / "run", f"--cache={tmp_path / name}") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: the cache {tmp_path / name} ")
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_epochs_by_the_number_of_images_are_resolved_once_and_little_data_is_said(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(photos, tmp_path, "train.epochs=auto", "train.max_steps=1") == 0
    error = capsys.readouterr().err
    assert "warning at step 0: 16 images are only 2 batches of 8: train.batch_size=2 or less" in error
    assert json.loads((tmp_path / "config.json").read_text())["train"]["epochs"] == 800
    assert main(["--resume", f"--out={tmp_path}", "train.max_steps=2"]) == 0
    assert "warning" not in capsys.readouterr().err
    assert checkpoint.load(tmp_path)["config"]["train"]["epochs"] == 800
    assert main(["--resume", f"--out={tmp_path}", "train.epochs=auto"]) == 2
    assert "train.epochs cannot change on --resume" in capsys.readouterr().err
