"""Images read by worker processes: as the server sees them, or at their own size."""

from __future__ import annotations

import signal
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from amcl_serve.errors import AmclError
from amcl_serve.model.pixels import fit
from training.data.sources import Numbers


def leave_signals_to_the_parent(_worker: int) -> None:
    """Ctrl-C and a service manager's SIGTERM reach the whole process group; the parent ends its workers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class Loads(Protocol):
    """Anything that loads images by number."""

    def load(self, index: int) -> Image.Image:
        """Image `index` as RGB; OSError or AmclError."""
        ...


def read(images: Loads, index: int) -> Image.Image | None:
    """Image `index` as RGB, None if it cannot be read."""
    try:
        return images.load(index)
    except (OSError, AmclError):
        return None


class Plain(Dataset[tuple[Tensor, bool]]):
    """The images as the server sees them, uint8 [S, S, 3], with whether each could be read; a broken one is black."""

    def __init__(self, images: Loads, indices: Numbers, size: int) -> None:
        self.images, self.indices, self.size = images, indices, size

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Tensor, bool]:
        image = read(self.images, int(self.indices[position]))
        if image is None:
            return torch.zeros(self.size, self.size, 3, dtype=torch.uint8), False
        return torch.from_numpy(np.array(fit(image, self.size))), True
