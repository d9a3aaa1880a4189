"""What a run says: lines and a bar on the terminal, numbers in the journal and where `train.log_to` wants them.

One process of a run speaks.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from training.config import Config, serialization
from training.run import sinks
from training.run.journal import Journal

T = TypeVar("T")

_SHOWN = {"s+": "positive_similarity", "s-": "negative_similarity", "τ+": "tau_positive", "τ-": "tau_negative"}


class Reporter:
    """Speaks for the run in `out`, which is entered at `step`; says and writes nothing if `silent`.

    ValueError when the folder cannot be written to, or what `train.log_to` names cannot be had.
    """

    def __init__(self, config: Config, out: Path, step: int, *, silent: bool) -> None:
        self._silent = silent
        self._bar: Any = None
        self._journal: Journal | None = None
        self._sinks: dict[str, sinks.Sink] = {}
        self._batch, self._done, self._began = config.train.batch_size, 0, time.perf_counter()
        self._waited = 0.0
        if silent:
            return
        sinks.check(config)  # before anything is written
        try:
            out.mkdir(parents=True, exist_ok=True)
            serialization.write(config, out)
        except OSError as error:
            raise ValueError(f"cannot write to {out}: {error.strerror}") from None
        self._journal = Journal(out, step)
        self._sinks = sinks.open_sinks(config, out, step)

    def begin(self, step: int, last: int) -> None:
        """Show progress from `step` to `last`."""
        hidden = True if self._silent else None  # None: hidden where there is no terminal
        self._bar = tqdm(total=last, initial=step, unit="step", dynamic_ncols=True, disable=hidden)
        self.restart_clock()

    def restart_clock(self) -> None:
        """What went before is no part of the rate: an evaluation, say."""
        self._done, self._waited, self._began = 0, 0.0, time.perf_counter()

    def waiting(self, batches: Iterable[T]) -> Iterator[T]:
        """The batches, and how long each was waited for is known."""
        coming = iter(batches)
        while True:
            began = time.perf_counter()
            try:
                batch = next(coming)
            except StopIteration:
                return
            self._waited += time.perf_counter() - began
            yield batch

    def advance(self) -> None:
        """One more step is done."""
        self._done += 1
        self._bar.update()

    def progress(self, step: int, loss: float, numbers: Mapping[str, float], **more: float) -> None:
        """The numbers of a step, to the journal and next to the bar, with those of the time since the last ones.

        These are images a second, and the share of the time that was spent waiting for images.
        """
        seconds = time.perf_counter() - self._began
        rate, wait = self._done * self._batch / seconds, self._waited / seconds
        self.restart_clock()
        self.record(step, loss=loss, images_per_second=rate, data_wait=wait, **more, **numbers)
        shown = {"loss": f"{loss:.3f}", "img/s": f"{rate:.0f}", "wait": f"{wait:.0%}"}
        shown |= {short: f"{numbers[name]:.3f}" for short, name in _SHOWN.items() if name in numbers}
        self._bar.set_postfix(shown)
        if self._bar.disable:  # no terminal: a line now and then
            left = (self._bar.total - step) * self._batch / rate / 60
            words = " ".join(f"{k}={v}" for k, v in shown.items())
            self.say(f"step {step}/{self._bar.total} {words} left={left:.0f}min")

    def record(self, step: int, **numbers: Any) -> None:
        """To the journal; what is numeric to the sinks too. One that fails is left out from then on."""
        if self._journal is None:
            return
        self._journal.write(step, **numbers)
        numeric = {name: value for name, value in numbers.items() if isinstance(value, (int, float))}
        for name, sink in list(self._sinks.items()) if numeric else []:
            try:
                sink.write(step, numeric)
            except Exception as error:  # theirs: a server that is gone is no reason to lose a run
                del self._sinks[name]
                self.warn(step, f"no more numbers to {name}: {error}")

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
        """End the bar, flush journal and sinks."""
        if self._bar is not None:
            self._bar.close()
        if self._journal is not None:
            self._journal.close()
        for sink in self._sinks.values():
            sink.close()
