"""When a run is judged by images kept apart, and what is said of it."""

from __future__ import annotations

import time
from contextlib import nullcontext

import torch

from training.config import Config
from training.data import Cache, Images
from training.judging.judge import Judge
from training.model.model import AmclModel
from training.run.reporter import Reporter


class Verdicts:
    """On one run: every so many epochs and after its last step, if there are images for it, by the `first` process.

    `at` is the step of the last one, `text` the same in words. ValueError for images that cannot judge a run.
    """

    def __init__(self, config: Config, images: Images, cache: Cache | None, per_epoch: int, *, first: bool) -> None:
        self._config, self._per_epoch = config, per_epoch
        self._judge = Judge(config, images, cache) if config.data.eval_spec and first else None
        self.at, self.text = 0, ""

    @property
    def warnings(self) -> list[str]:
        """What is to be known of the images before any figure."""
        return self._judge.warnings if self._judge else []

    def is_due(self, step: int, last: int) -> bool:
        """Whether one belongs after `step` of a run to `last`, and has not been given."""
        period = self._config.eval.every * self._per_epoch
        due = step == last or (period and step % period == 0)
        return bool(self._config.data.eval_spec and step and step != self.at and due)

    def give(self, step: int, model: AmclModel, device: torch.device, reporter: Reporter) -> None:
        """One on the model after `step`, to journal and terminal; ValueError where its features are no numbers."""
        if self._judge is not None:
            began, epoch = time.perf_counter(), step / self._per_epoch
            # Other sizes, which would be compiled anew; where nothing is compiled, the compiler stays out of memory.
            with torch.compiler.set_stance("force_eager") if self._config.train.compile else nullcontext():
                found = self._judge(model, device)
            reporter.record(step, epoch=epoch, **found.numbers)
            note = f"; {found.broken} images could not be read" if found.broken else ""
            self.text = found.text
            reporter.say(f"epoch {epoch:.1f}: {found.text}, {time.perf_counter() - began:.0f} s{note}")
        self.at = step
