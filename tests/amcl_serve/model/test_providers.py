"""Providers as users name them: lists with fallbacks, options, and what is wrong with either."""

from __future__ import annotations

import pytest

from amcl_serve.errors import StartupError
from amcl_serve.model.providers import (
    COREML,
    CPU,
    CUDA,
    OPENVINO,
    TENSORRT,
    provider_names,
    provider_options,
    refuse_idle_options,
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cpu", (CPU,)),
        ("CUDA", (CUDA,)),
        ("tensorrt", (TENSORRT, CUDA)),
        ("TensorrtExecutionProvider", (TENSORRT, CUDA)),
        ("tensorrt,cpu", (TENSORRT, CPU)),
        (" openvino , cpu", (OPENVINO, CPU)),
        ("coreml", (COREML,)),
        ("cuda,SomeExecutionProvider", (CUDA, "SomeExecutionProvider")),
    ],
)
def test_a_name_or_a_list(text: str, names: tuple[str, ...]) -> None:
    assert provider_names(text) == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cuda,", "no name between two commas"),
        ("cuda,CUDAExecutionProvider", "a name is there twice"),
        ("auto,cpu", "auto chooses by itself"),
        ("cpu,cuda", "the CPU runs every node, so it is the last"),
    ],
)
def test_lists_that_make_no_sense(text: str, said: str) -> None:
    with pytest.raises(StartupError, match=rf"{text}.*{said}.*such as tensorrt,cuda,cpu"):
        provider_names(text)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", {}),
        ("openvino.device_type=GPU", {OPENVINO: {"device_type": "GPU"}}),
        (
            "openvino.device_type=HETERO:GPU,CPU, openvino.num_streams=2,cuda.device_id=1",
            {OPENVINO: {"device_type": "HETERO:GPU,CPU", "num_streams": "2"}, CUDA: {"device_id": "1"}},
        ),
        ("CoreMLExecutionProvider.ModelFormat=MLProgram", {COREML: {"ModelFormat": "MLProgram"}}),
        ("tensorrt.trt_engine_cache_path=/a=b", {TENSORRT: {"trt_engine_cache_path": "/a=b"}}),
    ],
)
def test_options(text: str, options: dict[str, dict[str, str]]) -> None:
    assert provider_options(text) == options


@pytest.mark.parametrize("text", ["device_type=GPU", "openvino.device_type", "openvino", ",", "openvino.=GPU"])
def test_options_in_another_form(text: str) -> None:
    with pytest.raises(StartupError, match=r"give PROVIDER\.OPTION=VALUE"):
        provider_options(text)


def test_an_option_twice_or_of_a_provider_that_is_not_used() -> None:
    with pytest.raises(StartupError, match=r"cuda\.device_id is there twice"):
        provider_options("cuda.device_id=0,cuda.device_id=1")
    options = provider_options("openvino.device_type=GPU")
    refuse_idle_options(options, (OPENVINO, CPU), "openvino")
    with pytest.raises(StartupError, match="options of OpenVINOExecutionProvider, and the provider cuda does not use"):
        refuse_idle_options(options, (CUDA,), "cuda")
