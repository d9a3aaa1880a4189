"""The file as it is, in onnxruntime, normalised by NumPy: what a bundle made from it has to equal."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from amcl_serve.errors import AmclError
from amcl_serve.model.sessions import open_session
from export.errors import UsageError
from export.graphs.files import save
from export.networks import Pixels
from export.sources.onnx_file.compose import with_output
from export.sources.onnx_file.ends import Entry
from export.sources.preprocessing import Preprocessing
from training.machine import cores

Outputs = Mapping[str, npt.NDArray[Any]]


class Original:
    """The graph in `path`, entered at `entry`; of its outputs, or of `output` alone, which may be an inner tensor.

    `model` is that graph, or, where it is `rewritten`, takes its place.
    """

    def __init__(
        self,
        path: Path,
        model: onnx.ModelProto,
        entry: Entry,
        how: Preprocessing,
        output: str | None,
        *,
        rewritten: bool = False,
    ) -> None:
        self.entry, self._how, self._path = entry, how, path
        self._session = _session(model, path, output, rewritten)
        (given,) = (each.type for each in self._session.get_inputs() if each.name == entry.name)
        self._kind = np.float16 if given == "tensor(float16)" else np.float32
        self._names = [each.name for each in self._session.get_outputs()] if output is None else [output]

    def first(self, pixels: Pixels) -> Outputs:
        """The outputs for as many of `pixels` as the graph takes; `entry` is then of the layout that it takes.

        UsageError where it runs on none.
        """
        fault: Exception | None = None
        images = np.resize(pixels, (self.entry.batch or len(pixels), *pixels.shape[1:]))
        for layout in self.entry.layouts:
            self.entry = replace(self.entry, layouts=(layout,))
            try:
                return self._run(images)
            except Exception as error:  # onnxruntime's exceptions share no base class
                fault = fault or error
        assert fault is not None
        raise UsageError(
            f"--onnx {self._path}: onnxruntime cannot run it on {len(images)} images of {self._how.spec.size} pixels a "
            f"side: {_first_line(fault)}"
        )

    def __call__(self, name: str, pixels: Pixels) -> npt.NDArray[Any]:
        """The output `name` for all `pixels`, in batches of the size that the graph takes."""
        step = self.entry.batch or max(1, len(pixels))
        parts = []
        for start in range(0, len(pixels), step):
            images = pixels[start : start + step]
            parts.append(self._run(np.resize(images, (step, *images.shape[1:])))[name][: len(images)])
        return np.concatenate(parts)

    def _run(self, pixels: Pixels) -> Outputs:
        x = self._how.normalised(pixels)
        if self.entry.layouts == ("NCHW",):
            x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        found = self._session.run(self._names, {self.entry.name: x.astype(self._kind, copy=False)})
        return dict(zip(self._names, found, strict=True))


def _session(model: onnx.ModelProto, path: Path, output: str | None, rewritten: bool) -> ort.InferenceSession:
    try:
        if output is not None and output not in {value.name for value in model.graph.output}:
            extended = with_output(model, output)
            if extended is None:
                raise UsageError(f"--output {output}: the graph has no such tensor of a known type")
            model = extended
        elif not rewritten:
            return open_session(path, threads=cores())
        with tempfile.TemporaryDirectory() as folder:
            save(model, Path(folder) / path.name)
            return open_session(Path(folder) / path.name, threads=cores())
    except AmclError as error:
        reason = _first_line(error.__cause__ or error)
        raise UsageError(f"--onnx {path}: onnxruntime cannot load it: {reason}") from None


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
