"""Embedding image files in this process, without a server: what `embed`, `similarity` and `evaluate` share."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from amcl_serve.engine.submissions import Embedded
from amcl_serve.errors import AmclError, UnreadableFile
from amcl_serve.hosting.registry import LoadedModel
from amcl_serve.model.pixels import decode
from amcl_serve.settings import Settings

Item = TypeVar("Item")
Source = TypeVar("Source", Path, bytes)  # a file, or what is in it
Pixels = npt.NDArray[np.uint8] | AmclError


def embed_files(model: LoadedModel, files: Iterable[Path], settings: Settings) -> Iterator[Embedded | AmclError]:
    """Embed `files` in batches of `settings.max_batch`: one entry a file, in order, its embedding or its error."""
    for _, items in embed_batches(model, batches(files, settings.max_batch), settings):
        yield from items


def embed_batches(
    model: LoadedModel, groups: Iterable[Sequence[Source]], settings: Settings
) -> Iterator[tuple[Sequence[Source], list[Embedded | AmclError]]]:
    """Each group of files with their embeddings or errors, from one call of the encoder, while the next is decoded.

    The same group gives the same bits again: a network's sums may depend on what else is in its batch.
    """

    def read(file: Path | bytes) -> Pixels:
        try:
            data, spec = file if isinstance(file, bytes) else file.read_bytes(), model.bundle.card.input
            return decode(data, spec, max_pixels=settings.max_pixels, accept_truncated=settings.accept_truncated)
        except OSError as error:
            return UnreadableFile(f"cannot be read: {error.strerror}")
        except AmclError as error:
            return error

    pool = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="amcl-decode")
    ahead: deque[tuple[Sequence[Source], list[Future[Pixels]]]] = deque()
    try:
        for group in groups:
            ahead.append((group, [pool.submit(read, file) for file in group]))
            if len(ahead) > 1:
                yield _encoded(model, *ahead.popleft())
        while ahead:
            yield _encoded(model, *ahead.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """`items` in lists of `size`, the last one shorter."""
    waiting = iter(items)
    while batch := list(islice(waiting, size)):
        yield batch


def _encoded(
    model: LoadedModel, group: Sequence[Source], decoded: Sequence[Future[Pixels]]
) -> tuple[Sequence[Source], list[Embedded | AmclError]]:
    images = [image.result() for image in decoded]
    pixels = [image for image in images if not isinstance(image, AmclError)]
    if not pixels:
        return group, [image for image in images if isinstance(image, AmclError)]
    found = model.encoder.encode(np.stack(pixels))
    rows = (Embedded(*row) for row in zip(found.features, found.heads, strict=True))
    return group, [image if isinstance(image, AmclError) else next(rows) for image in images]
