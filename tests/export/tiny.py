"""A run folder in a moment: a narrow network with batch norms that have seen data, and folders of small images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from training.config import Config, override, to_dict
from training.config.recipes import adaptive, recipe
from training.model.model import AmclModel
from training.run import checkpoint

SIZE = 32


def make_run(folder: Path, *assignments: str, standard: bool = False) -> Path:
    """Write the checkpoint of an untrained network of 32-pixel images into `folder`: D = 128, C = 3, d' = 16."""
    config = recipe("simclr") if standard else adaptive(recipe("simclr"))
    small = (f"data.image_size={SIZE}", "backbone.width=16", "heads.hidden=64", "heads.dim=16")
    config = override(config, [*small, "data.spec=folder:/home/someone/photos", *assignments])
    torch.manual_seed(1)
    model = AmclModel(config).train()
    pixels = torch.from_numpy(photos(64, seed=5)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (config.data.mean, config.data.std))
    with torch.no_grad():
        # Batch norms settle; not the heads', which would blow up the little that untrained features tell apart.
        for _ in range(30):
            model.backbone((pixels - mean) / std)
    folder.mkdir(parents=True)
    save(folder, model, config)
    return folder


def save(folder: Path, model: AmclModel, config: Config) -> None:
    state = {"config": to_dict(config), "method": {f"model.{k}": v for k, v in model.state_dict().items()}}
    checkpoint.save(folder / checkpoint.FILE, state)


def photos(count: int, *, seed: int, size: int = SIZE) -> np.ndarray:
    """Smooth random pictures, uint8 [count, size, size, 3]."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((size, size), Image.Resampling.BICUBIC)) for c in coarse])


def make_photo_folder(folder: Path, count: int, *, seed: int, classes: int = 4, first: int = 0) -> Path:
    """`count` JPEG files n0000000C/n0000000C_K.JPEG, K from `first`, as in Tiny-ImageNet; 0 classes: no folders."""
    for index, photo in enumerate(photos(count, seed=seed, size=40)):
        name = f"n{index % classes if classes else 0:08d}"
        home = folder / name if classes else folder
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(home / f"{name}_{first + index // max(classes, 1)}.JPEG", quality=95)
    return folder
