"""An ONNX file from elsewhere as a source: an image encoder that exists, with features and no heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from amcl_serve.model.bundle import file_entry
from amcl_serve.model.encoder import Embeddings, unit_norm
from export.errors import UsageError
from export.graphs.files import OPSET, save
from export.graphs.nodes import opset
from export.images import synthetic_pixels
from export.networks import Network, Pixels, headless, served_network
from export.sources import About
from export.sources.onnx_file.batch import freed
from export.sources.onnx_file.compose import encoder
from export.sources.onnx_file.ends import POOLS, Exit, Pool, choose, entry
from export.sources.onnx_file.original import Original
from export.sources.onnx_file.reading import modernised, read, refuse_old
from export.sources.onnx_file.widen import widened
from export.sources.preprocessing import Preprocessing, Wishes, preprocessing
from export.verify import TOLERANCE
from export.whiten import Whitening

__all__ = ["POOLS", "OnnxSource"]

_TRIED = 3  # images that a rewritten graph is tried on
_AGREES = 1e-4  # of the features' scale
_CLASSES = 1000  # of ImageNet


class OnnxSource:
    """The encoder in the graph `model`, which is as the file was but for its opset, its batch, and float16 in it.

    It is compared with the file itself, `original`, in onnxruntime; with that in float32 where it computes in float16.
    """

    def __init__(
        self, original: Original, model: onnx.ModelProto, exit_: Exit, how: Preprocessing, about: About
    ) -> None:
        self._original, self._model, self._exit, self._how = original, model, exit_, how
        self._whitening: Whitening | None = None
        self.spec, self.about = how.spec, about

    @classmethod
    def open(cls, path: Path, wishes: Wishes, *, output: str | None = None, pool: Pool | None = None) -> OnnxSource:
        """Read `path`; `output` names the tensor that is the features, `pool` says what becomes of tokens.

        UsageError where the file is no image encoder, takes no batch of any size, or leaves doubt.
        """
        as_it_is = read(path)
        wide = widened(as_it_is, path)
        model = as_it_is if wide is None else wide
        given = entry(as_it_is, path)
        if given.size is not None and wishes.size not in (None, given.size):
            raise UsageError(f"--image-size {wishes.size}: the graph takes images of {given.size} pixels a side")
        how = preprocessing(wishes, Wishes(size=given.size), path.name)
        original = Original(path, model, given, how, output, rewritten=wide is not None)
        tried = synthetic_pixels(_TRIED, how.spec.size)
        found = original.first(tried)
        exit_ = choose(found, given.batch or len(tried), pool, path)
        if exit_.dim == _CLASSES and output is None:
            print(f"note: {_CLASSES} numbers look like ImageNet's classes; --output names the tensor before them")
        if wide is not None:
            _refuse_unlike(Original(path, as_it_is, original.entry, how, output), original, exit_, tried, path)
        config = {"onnx": path.name, "sha256": file_entry(path).sha256, "output": exit_.name, "pool": pool}
        about = About("not stated", "onnx", config | how.config(), "onnx", exit_.dim)
        return cls(original, _served(model, original, exit_, how, tried, path), exit_, how, about)

    @property
    def reference(self) -> tuple[Network, str]:
        """The file as it is."""

        def run(pixels: Pixels) -> Embeddings:
            features = self._exit.pooled(self._original(self._exit.name, pixels))
            if self._whitening is not None:
                features = np.asarray((features - self._whitening.centre) @ self._whitening.matrix, np.float32)
            return headless(features)

        return run, "the ONNX file"

    def whiten(self, whitening: Whitening) -> None:
        """Give the encoder a last layer."""
        self._whitening = whitening

    def write(self, path: Path) -> None:
        """Write the features."""
        save(encoder(self._model, (self._original.entry, self._exit), self._how, self._whitening), path)

    def write_temperature(self, path: Path) -> None:
        """Nothing: there are no heads."""

    def untrained(self) -> None:
        """Not to be had from a file."""


def _served(
    model: onnx.ModelProto, original: Original, exit_: Exit, how: Preprocessing, tried: Pixels, path: Path
) -> onnx.ModelProto:
    """`model` for a batch of any size, in our opset if it can be converted; tried against the file.

    UsageError where it takes a fixed number of images and cannot be freed of it, or is too old.
    """
    given = original.entry
    free = model if given.batch is None else freed(model, given.name, given.batch)
    expected = exit_.pooled(original(exit_.name, tried))

    def agrees(candidate: onnx.ModelProto) -> bool:
        try:
            network = served_network(lambda file: save(encoder(candidate, (given, exit_), how, None), file))
            found = network(tried).features
        except Exception:  # what onnx and onnxruntime raise of a graph that does not hold together
            return False
        return found.shape == expected.shape and _difference(expected, found) <= _AGREES

    converted = modernised(free)
    if converted is not None and agrees(converted):
        return converted
    if opset(free) < OPSET:
        refuse_old(free, path)
        print(f"note: {path.name} stays in opset {opset(free)}; it cannot be converted to {OPSET}")
    if agrees(free):
        return free
    if given.batch is not None:
        raise UsageError(
            f"--onnx {path}: it takes {given.batch} image{'s' * (given.batch > 1)} at a time, and its shapes cannot be "
            "freed of that; export the network anew with a dynamic batch"
        )
    raise UsageError(f"--onnx {path}: with its pixels normalised within the graph it gives other features")


def _refuse_unlike(as_it_is: Original, wide: Original, exit_: Exit, tried: Pixels, path: Path) -> None:
    """UsageError where a file of float16 gives other features than it does in float32."""
    a, b = (unit_norm(exit_.pooled(each(exit_.name, tried))) for each in (as_it_is, wide))
    cosine = float((a * b).sum(-1).min())
    if not cosine >= TOLERANCE["fp16"]["features_min_cosine"]:  # NaN fails too
        raise UsageError(
            f"--onnx {path}: it computes in float16, and in float32 its features differ (a cosine of {cosine:.4f}); "
            "export the network anew in float32"
        )


def _difference(expected: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> float:
    return float(np.abs(expected - found).max() / max(float(np.abs(expected).max()), 1e-30))
