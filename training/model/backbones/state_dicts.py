"""Weights from elsewhere: a file of tensors read without running code, and its tensors put into a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

# Where programs keep the network's weights among other things; the first that is there counts.
_INSIDE = ("state_dict", "model_state_dict", "teacher", "model_ema", "model", "network", "net", "backbone", "encoder")
_SHOWN = 5  # names in a message
_COUNTER = "num_batches_tracked"  # of batch norms, which old files lack


@dataclass(frozen=True)
class Report:
    """What became of a network's tensors and of a file's.

    matched: names, in the network, of those that were read. missing: names of those that were not. unexpected: names,
    in the file, of those that the network has no place for. prefix: what all matched names begin with in the file.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    prefix: str

    def __str__(self) -> str:
        words = f"{len(self.matched)} tensors matched"
        words += f" (as {self.prefix}*)" if self.prefix else ""
        words += f", missing: {some(self.missing)}" if self.missing else ", none missing"
        return words + (f", not used: {some(self.unexpected)}" if self.unexpected else "")


def some(names: Sequence[str]) -> str:
    """The first few of them, and how many others there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def read(path: Path) -> dict[str, Tensor]:
    """The tensors in a `.safetensors` file or a state dict saved by torch (`.pth`, `.pt`, `.bin`), on the CPU.

    Of a training program's checkpoint, the weights of its network (below `state_dict`, `model`, `teacher`, …).
    ValueError when there are none.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    tensors = _tensors(_read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path))
    if not tensors:
        raise ValueError(f"{path} holds no state dict: no tensors by name")
    return tensors


def _read_safetensors(path: Path) -> Any:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{path} is no safetensors file, or is damaged ({error})") from None


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is none of its own
        text = str(error)
        if "Unsupported global" in text or "Unsupported class" in text or "Unsupported operand" in text:
            raise ValueError(
                f"{path} holds Python objects beside tensors, which could run code and are not read; "
                "save the network's state_dict() alone"
            ) from None
        raise ValueError(f"{path} is no state dict saved by PyTorch, or is damaged") from None


def _tensors(found: Any) -> dict[str, Tensor]:
    while isinstance(found, Mapping):
        tensors = {name: value for name, value in found.items() if isinstance(name, str) and isinstance(value, Tensor)}
        inside = next((found[key] for key in _INSIDE if isinstance(found.get(key), Mapping)), None)
        if inside is None:
            return tensors
        found = inside
    return {}


def load_matching(network: nn.Module, tensors: Mapping[str, Tensor], classifier: Sequence[str] = ("fc",)) -> Report:
    """Put `tensors` into `network`, all of its own or none.

    Names may have a prefix in the file (`module.`, `backbone.`, `module.encoder_q.`): that with which most fit. Every
    tensor of the network has to be there in its shape, but for batch norms' counters. The file may hold more: a
    classifier, by its name in `classifier`, and parts that the network knows nothing of; not more of a part that both
    have, which is another network's. ValueError names what does not fit; the network is as it was then.
    """
    own = network.state_dict()
    prefix = _prefix(own, tensors)
    given = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    matched = [name for name in own if name in given]
    shapes = [
        f"{name} ({list(given[name].shape)} there, {list(own[name].shape)} here)"
        for name in matched
        if given[name].shape != own[name].shape
    ]
    missing = [name for name in own if name not in given]
    lacking = [name for name in missing if not name.endswith(_COUNTER)]
    parts = {name.partition(".")[0] for name in own}
    unexpected = [name for name in given if name not in own]
    foreign = [
        name
        for name in unexpected
        if name.partition(".")[0] in parts and not any(name.startswith(f"{layer}.") for layer in classifier)
    ]
    if len(lacking) == len([name for name in own if not name.endswith(_COUNTER)]):
        raise ValueError(f"no name fits: it holds {some(list(tensors))}; the network has {some(list(own))}")
    faults = [
        f"{words}: {some(names)}"
        for words, names in (
            ("other shapes", shapes),
            ("missing", lacking),
            ("unknown to the network", foreign),
            ("not finite", [name for name in matched if not given[name].isfinite().all()]),
        )
        if names
    ]
    if faults:
        raise ValueError(f"it is of another network, or damaged; {'; '.join(faults)}")
    network.load_state_dict({name: given[name] for name in matched}, strict=False)
    return Report(tuple(matched), tuple(missing), tuple(unexpected), prefix)


def _prefix(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> str:
    """What the names of the file have before the network's, in most of the cases where they end alike."""
    found = Counter[str]()
    for name in tensors:
        start = 0
        while True:
            if name[start:] in own:
                found[name[:start]] += 1
            dot = name.find(".", start)
            if dot < 0:
                break
            start = dot + 1
    return found.most_common(1)[0][0] if found else ""
