"""Numbers to other services, by stubs of their libraries: no network."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.training.command import losses, train
from training.pretrain import main


class Stub:
    """Takes calls as wandb and mlflow do, and remembers them."""

    def __init__(self) -> None:
        self.numbers: dict[int, dict[str, float]] = {}
        self.begun: list[dict[str, Any]] = []
        self.params: dict[str, Any] = {}
        self.ended = 0
        self.fails_at = 10**9
        self.id = "run-7"
        self.info = SimpleNamespace(run_id="run-7")

    def log(self, numbers: dict[str, float], step: int) -> None:
        if step >= self.fails_at:
            raise ConnectionError("the server is gone")
        self.numbers.setdefault(step, {}).update(numbers)

    log_metrics = log

    def init(self, **settings: Any) -> Stub:
        self.begun.append(settings)
        return self

    start_run = init

    def set_experiment(self, name: str) -> None:
        self.experiment = name

    def log_params(self, params: dict[str, Any]) -> None:
        self.params.update(params)

    def finish(self) -> None:
        self.ended += 1

    end_run = finish


@pytest.fixture(params=["wandb", "mlflow"])
def stub(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Stub]:
    made = Stub()
    monkeypatch.setitem(sys.modules, request.param, made)
    return request.param, made


def test_numbers_and_configuration_arrive_and_a_resumed_run_goes_on(
    folder: Path, tmp_path: Path, stub: tuple[str, Stub]
) -> None:
    name, made = stub
    words = [f"train.log_to=tensorboard,{name}", "train.epochs=2"]
    assert train(folder, tmp_path / "run", *words, "train.max_steps=3") == 0
    assert (tmp_path / "run" / "tensorboard").exists()
    assert main(["--resume", f"--out={tmp_path / 'run'}", "train.max_steps=0"]) == 0
    assert {step: line["loss"] for step, line in made.numbers.items() if "loss" in line} == losses(tmp_path / "run")
    assert made.ended == 2
    first, second = made.begun
    if name == "wandb":
        assert (first["project"], first["name"], first["id"], second["id"]) == ("amcl-serve", "run", None, "run-7")
        assert first["config"]["train.epochs"] == 2
    else:
        assert (made.experiment, first, second["run_id"]) == (
            "amcl-serve",
            {"run_id": None, "run_name": "run"},
            "run-7",
        )
        assert made.params["train.epochs"] == 2


def test_a_service_that_fails_costs_no_run(
    folder: Path, tmp_path: Path, stub: tuple[str, Stub], capsys: pytest.CaptureFixture[str]
) -> None:
    name, made = stub
    made.fails_at = 2
    assert train(folder, tmp_path / "run", f"train.log_to={name}", "train.epochs=2") == 0
    assert capsys.readouterr().err.count(f"no more numbers to {name}: the server is gone") == 1
    assert len(losses(tmp_path / "run")) == 6
    assert not (tmp_path / "run" / "tensorboard").exists()


@pytest.mark.parametrize(
    ("to", "says"),
    [
        ("wandb", "train.log_to=wandb needs wandb: pip install 'amcl-serve[wandb]'"),
        ("mlflow,tensorboard", "train.log_to=mlflow needs mlflow: pip install 'amcl-serve[mlflow]'"),
        ("tensorbord", "'tensorbord' is none of tensorboard, wandb, mlflow, none"),
    ],
)
def test_what_is_missing_or_unknown_is_said_before_anything_is_written(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    to: str,
    says: str,
) -> None:
    for name in ("wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, name, None)  # as if not installed
    assert train(folder, tmp_path / "run", f"train.log_to={to}") == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_none_is_the_journal_alone(folder: Path, tmp_path: Path) -> None:
    assert train(folder, tmp_path / "run", "train.log_to=none", "train.max_steps=1") == 0
    assert not (tmp_path / "run" / "tensorboard").exists()
    assert losses(tmp_path / "run")


def test_a_service_that_cannot_begin_says_so(
    folder: Path, tmp_path: Path, stub: tuple[str, Stub], capsys: pytest.CaptureFixture[str]
) -> None:
    name, made = stub

    def refuse(**settings: Any) -> None:
        raise PermissionError("no key")

    made.init = made.start_run = refuse  # type: ignore[assignment,method-assign]
    assert train(folder, tmp_path / "run", f"train.log_to={name}") == 2
    assert f"train.log_to={name}: no key" in capsys.readouterr().err
