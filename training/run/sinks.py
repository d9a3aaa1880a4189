"""Where a run's numbers go beside its journal: TensorBoard, Weights & Biases, MLflow. `train.log_to` names them.

The latter two are extras, imported when asked for. A key or a server they take from their own environment variables.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from training.config import Config, flatten

_PROJECT = "amcl-serve"


class Sink(Protocol):
    """Takes numbers of steps, which come in order."""

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Of one step."""
        ...

    def close(self) -> None:
        """No more numbers."""
        ...


class TensorBoard:
    """tensorboard/ in the run's folder; entered at `step`, it hides what was written of later steps."""

    def __init__(self, config: Config, out: Path, step: int) -> None:  # noqa: ARG002 - as all
        from torch.utils.tensorboard import SummaryWriter  # it imports for a second

        self._writer: Any = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1 if step else None)

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """See `Sink`."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """See `Sink`."""
        self._writer.close()


class WandB:
    """A run of Weights & Biases, gone on with on resume, in the project WANDB_PROJECT or `amcl-serve`.

    It keeps the first of two values for a step, so the steps that a resumed run takes again stay as they were.
    """

    def __init__(self, config: Config, out: Path, step: int) -> None:  # noqa: ARG002
        known = out / "wandb-run.txt"
        self._run: Any = _module("wandb").init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=out.name,
            dir=str(out),
            config=flatten(config),
            id=_text(known),
            resume="allow",
        )
        known.write_text(self._run.id)

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """See `Sink`."""
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        """See `Sink`."""
        self._run.finish()


class MLflow:
    """A run of MLflow, gone on with on resume, in the experiment MLFLOW_EXPERIMENT_NAME or `amcl-serve`."""

    def __init__(self, config: Config, out: Path, step: int) -> None:  # noqa: ARG002
        known = out / "mlflow-run.txt"
        self._mlflow = _module("mlflow")
        self._mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT))
        run_id = _text(known)
        run: Any = self._mlflow.start_run(run_id=run_id, run_name=None if run_id else out.name)
        known.write_text(run.info.run_id)
        if run_id is None:
            self._mlflow.log_params(flatten(config))

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """See `Sink`."""
        self._mlflow.log_metrics(dict(numbers), step=step)

    def close(self) -> None:
        """See `Sink`."""
        self._mlflow.end_run()


SINKS: dict[str, type[Sink]] = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}


def check(config: Config) -> list[str]:
    """The names in `train.log_to`; ValueError for an unknown one, or one that is not installed."""
    words = [word.strip() for word in config.train.log_to.split(",")]
    names = [] if words == ["none"] else words
    for name in names:
        if name not in SINKS:
            raise ValueError(f"train.log_to={config.train.log_to!r}: {name!r} is none of {', '.join(SINKS)}, none")
        if name != "tensorboard":
            _module(name)
    return names


def open_sinks(config: Config, out: Path, step: int) -> dict[str, Sink]:
    """Those of `train.log_to`, by name, of the run in `out` that is entered at `step`; ValueError says what hinders."""
    opened: dict[str, Sink] = {}
    for name in check(config):
        try:
            opened[name] = SINKS[name](config, out, step)  # type: ignore[call-arg]
        except Exception as error:  # theirs: no key, no server, no network
            for sink in opened.values():
                sink.close()
            raise ValueError(f"train.log_to={name}: {_line(error)}") from None
    return opened


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ValueError(f"train.log_to={name} needs {name}: pip install 'amcl-serve[{name}]'") from None


def _text(path: Path) -> str | None:
    return path.read_text().strip() if path.exists() else None
