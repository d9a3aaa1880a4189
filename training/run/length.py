"""Schedule and number of images: `train.epochs=auto`, what cannot be, and what to say of what does not suit."""

from __future__ import annotations

import dataclasses

from training.config import Config
from training.config.keys import C

_VIEWED = 10_000_000  # images seen in a run: 200 epochs of CIFAR-10's 50,000, our default
_FEWEST, _MOST = 50, 800  # epochs
_TOO_MANY = 1500  # epochs; published runs have up to 1,000
_FEW_STEPS = 1000
_FEW_BATCHES = 4  # in an epoch


def resolve_epochs(config: C, images: int) -> C:
    """`train.epochs=auto` replaced: as many as show ten million images, within 50 and 800."""
    if config.train.epochs:
        return config
    epochs = min(_MOST, max(_FEWEST, round(_VIEWED / images)))
    return dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=epochs))


def check_batch(config: Config, images: int, processes: int) -> None:
    """ValueError where the images do not make one batch, or a batch does not suit processes and parts."""
    train = config.train
    batch = train.batch_size
    if images < batch:
        raise ValueError(
            f"{config.data.spec} holds {images} images, fewer than one batch of "
            f"{batch}; set train.batch_size={max(2, images)} or less"
        )
    if batch % processes or batch < 2 * processes:
        raise ValueError(f"train.batch_size={batch} must be a multiple of the {processes} processes, two each or more")
    if batch < 2 * processes * train.accumulate:
        raise ValueError(
            f"train.accumulate={train.accumulate}: a part needs two images or more, of each process; "
            f"set it to {max(1, batch // (2 * processes))} or less, or raise train.batch_size"
        )


def doubts(config: C, images: int, steps: int) -> list[str]:
    """Sentences about a schedule of `steps` over so many images; none where it suits them."""
    train = config.train
    batches = images // train.batch_size
    found = []
    if batches < _FEW_BATCHES:
        batch = max(2, images // (2 * _FEW_BATCHES))
        left = images % train.batch_size
        found.append(
            f"{images} images are only {batches} {'batch' if batches == 1 else 'batches'} of {train.batch_size}"
            f"{f', and each epoch leaves out {left}' if left else ''}: train.batch_size={batch} or less, or more images"
        )
    if train.epochs > _TOO_MANY:
        found.append(
            f"each of {images} images is seen in {train.epochs} epochs, more than published runs have (up to 1,000); "
            "more images would bring more than more epochs"
        )
    if steps < _FEW_STEPS:
        found.append(
            f"the whole schedule has {steps} steps, and below {_FEW_STEPS} little is learnt: more train.epochs, or a "
            "smaller train.batch_size"
        )
    return found
