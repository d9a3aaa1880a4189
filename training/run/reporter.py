"""What a run says: lines and a bar on the terminal, numbers in journal and TensorBoard. One process of a run speaks."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from training.config import Config, serialization
from training.run.journal import Journal

_SHOWN = {"s+": "positive_similarity", "s-": "negative_similarity", "τ+": "tau_positive", "τ-": "tau_negative"}


class Reporter:
    """Speaks for the run in `out`, which is entered at `step`; says and writes nothing if `silent`.

    ValueError when the folder cannot be written to.
    """

    def __init__(self, config: Config, out: Path, step: int, *, silent: bool) -> None:
        self._silent = silent
        self._bar: Any = None
        self._journal: Journal | None = None
        self._batch, self._done, self._began = config.train.batch_size, 0, time.perf_counter()
        if silent:
            return
        try:
            out.mkdir(parents=True, exist_ok=True)
            serialization.write(config, out)
        except OSError as error:
            raise ValueError(f"cannot write to {out}: {error.strerror}") from None
        self._journal = Journal(out, step)
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1 if step else None)

    def begin(self, step: int, last: int) -> None:
        """Show progress from `step` to `last`."""
        hidden = True if self._silent else None  # None: hidden where there is no terminal
        self._bar = tqdm(total=last, initial=step, unit="step", dynamic_ncols=True, disable=hidden)
        self.restart_clock()

    def restart_clock(self) -> None:
        """What went before is no part of the rate: an evaluation, say."""
        self._done, self._began = 0, time.perf_counter()

    def advance(self) -> None:
        """One more step is done."""
        self._done += 1
        self._bar.update()

    def progress(self, step: int, loss: float, numbers: Mapping[str, float], **more: float) -> None:
        """The numbers of a step, to the journal and next to the bar, with the rate since the last ones."""
        rate = self._done * self._batch / (time.perf_counter() - self._began)
        self.restart_clock()
        self.record(step, loss=loss, images_per_second=rate, **more, **numbers)
        shown = {"loss": f"{loss:.3f}", "img/s": f"{rate:.0f}"}
        shown |= {short: f"{numbers[name]:.3f}" for short, name in _SHOWN.items() if name in numbers}
        self._bar.set_postfix(shown)
        if self._bar.disable:  # no terminal: a line now and then
            left = (self._bar.total - step) * self._batch / rate / 60
            words = " ".join(f"{k}={v}" for k, v in shown.items())
            self.say(f"step {step}/{self._bar.total} {words} left={left:.0f}min")

    def record(self, step: int, **numbers: Any) -> None:
        """To the journal; what is numeric to TensorBoard too."""
        if self._journal is None:
            return
        self._journal.write(step, **numbers)
        for name, value in numbers.items():
            if isinstance(value, (int, float)):
                self._board.add_scalar(name, value, step)

    def say(self, text: str) -> None:
        """To standard output, at once; where nobody reads that any more (`| head`), ask to stop as SIGTERM does."""
        if self._silent:
            return
        try:
            tqdm.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())
            signal.raise_signal(signal.SIGTERM)

    def warn(self, step: int, text: str) -> None:
        """To standard error and the journal."""
        if not self._silent:
            tqdm.write(f"warning at step {step}: {text}", file=sys.stderr)
            self.record(step, warning=text)

    def close(self) -> None:
        """End the bar, flush journal and TensorBoard."""
        if self._bar is not None:
            self._bar.close()
        if self._journal is not None:
            self._journal.close()
            self._board.close()
