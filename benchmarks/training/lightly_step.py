"""lightly's SimCLR as its documentation has it, the other side of `vs_lightly`.

The example at docs.lightly.ai/examples/simclr.html (plain PyTorch): `SimCLRTransform`, a `DataLoader`, the backbone,
`SimCLRProjectionHead(512, 512, 128)`, `NTXentLoss`, plain SGD at 0.06, the two views through the network in turn. The
backbone is ours, so that both train the same network. The images are in memory as torchvision's CIFAR-10, the
example's data set, has them. What the example leaves to its users is chosen in lightly's favour: the number of workers,
and in the comparisons at equal precision the memory layout. Both sides run in one process and so share what training
sets up there: threads, and on CPU `machine.keep_memory`, which speeds up lightly's steps as it does ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler

from benchmarks.training.turns import timed
from training import machine
from training.config import Config
from training.model import backbones
from training.run.trainer import Trainer

_ENDLESS = 1 << 22  # images; no epoch ends, at which the loader would have to fill up again


class Decoded(Dataset[tuple[list[Tensor], int]]):
    """Images in memory, transformed when asked for."""

    def __init__(self, images: Sequence[Image.Image], transform: SimCLRTransform) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[list[Tensor], int]:
        return self.transform(self.images[index]), 0


class SimCLR(nn.Module):
    """The backbone that `config` names, and lightly's head."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.backbone, dim = backbones.build(config.backbone, config.data.image_size)
        self.projection_head = SimCLRProjectionHead(dim, config.heads.hidden, config.heads.dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection_head(self.backbone(x).flatten(start_dim=1))


class Lightly:
    """Training by lightly's parts at `config`'s size, batch and precision; `close` ends its workers."""

    def __init__(
        self,
        images: Sequence[Image.Image],
        config: Config,
        transform: SimCLRTransform,
        *,
        workers: int,
        channels_last: bool,
    ) -> None:
        config = machine.resolve(config)
        self.device = machine.device(config)
        self.bf16 = config.train.precision == "bf16"
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.model = SimCLR(config).to(self.device, memory_format=self.format)
        self.criterion = NTXentLoss()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.06)
        dataset = Decoded(images, transform)
        loader = DataLoader(
            dataset,
            batch_size=config.train.batch_size,
            sampler=RandomSampler(dataset, num_samples=_ENDLESS),
            drop_last=True,
            num_workers=workers,
            pin_memory=self.device.type == "cuda",
        )
        self.batches: Iterator[tuple[list[Tensor], Tensor]] = iter(loader)

    def __call__(self, _ours: Trainer, _views_N3SS: Tensor, steps: int) -> None:
        """lightly's turn of `training_turns.against`."""
        self.run(steps)

    def run(self, steps: int) -> None:
        """Steps from images to weights."""
        for _ in range(steps):
            (x0, x1), _targets = next(self.batches)
            self.step(x0, x1)

    def step(self, x0_B3SS: Tensor, x1_B3SS: Tensor) -> None:
        """One step on two views of a batch."""
        x0, x1 = (x.to(self.device, non_blocking=True, memory_format=self.format) for x in (x0_B3SS, x1_B3SS))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            loss = self.criterion(self.model(x0), self.model(x1))
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def close(self) -> None:
        """The loader's workers end with the last reference to its iterator."""
        del self.batches


def our_transform(config: Config) -> SimCLRTransform:
    """The augmentation of our recipe in lightly's terms: kinds a, c, d, e with the same strengths, no blur."""
    assert set(config.augment.kinds) == set("acde")
    return SimCLRTransform(
        input_size=config.data.image_size,
        min_scale=config.augment.crop_min_scale,
        cj_strength=config.augment.jitter_strength,
        gaussian_blur=0.0,
    )


def example_transform(config: Config) -> SimCLRTransform:
    """That of lightly's example: crops from 8 % of the area, full colour distortion, no blur."""
    return SimCLRTransform(input_size=config.data.image_size, gaussian_blur=0.0)


def faster_layout(images: Sequence[Image.Image], config: Config, seconds: float) -> bool:
    """Whether lightly's step is faster with channels last, at `config`'s precision."""
    views = torch.rand(2, config.train.batch_size, 3, config.data.image_size, config.data.image_size)
    rates = []
    for channels_last in (False, True):
        side = Lightly(images, config, our_transform(config), workers=0, channels_last=channels_last)
        rates.append(_rate(lambda steps, side=side: [side.step(*views) for _ in range(steps)], side.device, seconds))
        side.close()
    return rates[1] > rates[0]


def best_workers(images: Sequence[Image.Image], config: Config, channels_last: bool, seconds: float) -> int:
    """The number of workers, a power of two up to twice the cores, at which lightly is fastest end to end."""
    rates: dict[int, float] = {}
    workers = 1
    while workers <= min(16, 2 * machine.cores()):
        side = Lightly(images, config, our_transform(config), workers=workers, channels_last=channels_last)
        rates[workers] = _rate(side.run, side.device, seconds)
        side.close()
        workers *= 2
    return max(rates, key=lambda workers: rates[workers])


def _rate(run: Callable[[int], object], device: torch.device, seconds: float) -> float:
    """Steps a second, of as many as take `seconds`, after a first that warms up."""
    timed(run, 1, device)
    steps = 1
    while (took := timed(run, steps, device)) < seconds:
        steps *= 2
    return steps / took
