"""The figures of CUDA on a machine without it: what is measured on the CPU, and how it reports what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from amcl_serve.model.bundle import Bundle
from amcl_serve.model.providers import CPU, CUDA
from benchmarks.serving import onnx_cuda
from benchmarks.serving.onnx_cuda import TOLERANCE, agreement, doctor_says, load, serve_says, through_server

without_cuda = pytest.mark.skipif(CUDA in ort.get_available_providers(), reason="onnxruntime has CUDA here")


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle)


def test_measures_on_the_cpu(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_cuda, "IMAGES", 2)
    results = tmp_path / "onnx.jsonl"
    words = ["--provider", "cpu", "--bundle", str(tiny_bundle), "--only", "agreement,speed", "--seconds", "0.001"]
    assert onnx_cuda.main([*words, "--results", str(results), "--commit", "abc"]) == 0
    provider, agreed, speed = (json.loads(line) for line in results.read_text().splitlines())
    assert (provider["loads"], provider["used"], provider["commit"]) == (True, CPU, "abc")
    assert agreed["agrees"]
    assert agreed["features"]["min_cosine"] == pytest.approx(1)
    assert agreed["heads"]["max_abs"] == 0
    assert list(speed["images_per_second"]) == [str(batch) for batch in onnx_cuda.BATCHES]
    assert min(speed["images_per_second"].values()) > 0


def test_other_embeddings_do_not_agree(bundle: Bundle) -> None:
    _, encoder = load(bundle, "cpu")
    assert encoder is not None
    same = encoder.encode

    class Noisy(type(encoder)):  # type: ignore[misc]
        def encode(self, pixels: Any) -> Any:
            found = same(pixels)
            return type(found)(found.features + 0.5, found.heads)

    encoder.__class__ = Noisy
    found = agreement(encoder, np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8))
    assert not found["agrees"]
    assert found["features"]["max_abs"] == pytest.approx(0.5)
    assert found["features"]["min_cosine"] < TOLERANCE <= found["heads"]["min_cosine"]


@without_cuda
def test_a_provider_that_is_not_there_is_a_finding(bundle: Bundle) -> None:
    finding, encoder = load(bundle, "cuda")
    assert encoder is None
    assert not finding["loads"]
    assert finding["error"].startswith("provider_unavailable: the provider CUDAExecutionProvider is not available")


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        onnx_cuda.main(["--only", "speed,colour"])
    assert "--only takes agreement, speed, server, commands, not colour" in capsys.readouterr().err


@pytest.mark.slow
def test_a_server_is_measured(tiny_bundle: Path, bundle: Bundle) -> None:
    words = ["--provider", "cpu", "--clients", "2", "--server-seconds", "1", "--bundle", str(tiny_bundle)]
    found = through_server(bundle, onnx_cuda._parse(words))
    assert found["images_per_second_raw"] > 0
    assert found["images_per_second_multipart32"] > 0
    assert found["other_answers_raw"] == found["other_answers_multipart32"] == 0
    assert found["says"].endswith(f"fp32 on {CPU}")


@pytest.mark.slow
def test_the_commands_are_quoted(tiny_bundle: Path, bundle: Bundle) -> None:
    ready = serve_says(str(tiny_bundle), "cpu", hidden=False)
    assert (ready["ready"], ready["exit_code"]) == (True, 0)
    fine = doctor_says(str(tiny_bundle), "cpu", hidden=True)
    assert fine["exit_code"] == 0
    assert fine["model"].startswith("ok: tiny, fp32 on CPUExecutionProvider")
    if CUDA in ort.get_available_providers():
        return
    refused = serve_says(str(tiny_bundle), "cuda", hidden=False)
    assert (refused["ready"], refused["exit_code"]) == (False, 1)
    assert "the provider CUDAExecutionProvider is not available" in refused["says"]
    failed = doctor_says(str(tiny_bundle), "cuda", hidden=False)
    assert failed["exit_code"] == 1
    assert failed["providers"].startswith("fail: CUDAExecutionProvider is asked for")
    options = onnx_cuda._parse(["--provider", "cuda", "--bundle", str(tiny_bundle)])
    assert "is not available" in through_server(bundle, options)["error"]
