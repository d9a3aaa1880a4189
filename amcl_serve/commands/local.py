"""Embedding image files in this process, without a server: what `embed` and `similarity` share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from amcl_serve.batching import Embedded
from amcl_serve.errors import AmclError, BadRequest
from amcl_serve.images import decode
from amcl_serve.registry import LoadedModel
from amcl_serve.settings import Settings


def embed_files(model: LoadedModel, files: Sequence[Path], settings: Settings) -> Iterator[Embedded | AmclError]:
    """Embed `files` in batches of `settings.max_batch`: one entry a file, in order, its embedding or its error."""

    def read(file: Path) -> npt.NDArray[np.uint8] | AmclError:
        try:
            return decode(file.read_bytes(), model.bundle.card.input, max_pixels=settings.max_pixels)
        except OSError as error:
            return BadRequest(f"cannot be read: {error.strerror}")
        except AmclError as error:
            return error

    waiting = iter(files)
    with ThreadPoolExecutor(settings.decode_threads) as pool:
        while batch := list(islice(waiting, settings.max_batch)):
            images = list(pool.map(read, batch))
            pixels = [image for image in images if not isinstance(image, AmclError)]
            found = model.encoder.encode(np.stack(pixels)) if pixels else None
            row = 0
            for image in images:
                if isinstance(image, AmclError):
                    yield image
                else:
                    assert found is not None
                    yield Embedded(found.features[row], found.heads[row])
                    row += 1
