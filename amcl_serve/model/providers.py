"""onnxruntime's execution providers as users name them: short names, lists with fallbacks, options, remedies.

cuda                       CUDAExecutionProvider; nodes that it does not take run on the CPU
tensorrt                   TensorrtExecutionProvider, then CUDAExecutionProvider, then the CPU
openvino,cpu               as it is written
openvino.device_type=GPU   an option of one of them
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import onnxruntime as ort

from amcl_serve.errors import ProviderUnavailable, StartupError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"
COREML = "CoreMLExecutionProvider"

Options = Mapping[str, Mapping[str, str]]  # of a provider, by onnxruntime's name

_SHORT = {"cpu": CPU, "cuda": CUDA, "tensorrt": TENSORRT, "openvino": OPENVINO, "coreml": COREML}
_NEXT_PAIR = re.compile(r",(?=\s*\w+\.\w+=)")  # other commas belong to a value, such as HETERO:GPU,CPU
_PAIR = re.compile(r"\s*(\w+)\.(\w+)=(.*)", re.DOTALL)
_REMEDY = {
    CUDA: "Install amcl-serve[gpu], without the cpu extra beside it, on a machine with an NVIDIA driver, "
    "or choose the provider cpu; amcl-serve doctor names what is missing",
    TENSORRT: "Install amcl-serve[gpu], without the cpu extra beside it, and NVIDIA's TensorRT of the version that "
    "onnxruntime-gpu is built for, its libraries (libnvinfer, libnvonnxparser) on the loader's path, or choose the "
    "provider cuda",
    OPENVINO: "It needs onnxruntime-openvino in place of onnxruntime, and a device that is here "
    "(--provider-options openvino.device_type=CPU, GPU or NPU); or choose the provider cpu",
    COREML: "It is in onnxruntime for macOS alone; choose the provider cpu elsewhere",
}


def provider_name(name: str) -> str:
    """onnxruntime's name of a provider: short names are spelt out, any other is taken as it is."""
    return _SHORT.get(name.lower(), name)


def provider_names(text: str) -> tuple[str, ...]:
    """onnxruntime's names of the providers in `text`, a name or a list with commas; the first is tried for every node.

    `tensorrt` alone has cuda behind it. StartupError for a list that makes no sense.
    """
    names = tuple(provider_name(name.strip()) for name in text.split(","))
    if names == (TENSORRT,):
        return TENSORRT, CUDA
    wrong = None
    if "" in names:
        wrong = "there is no name between two commas"
    elif len(set(names)) < len(names):
        wrong = "a name is there twice"
    elif "auto" in names and len(names) > 1:
        wrong = "auto chooses by itself and stands alone"
    elif CPU in names[:-1]:
        wrong = "the CPU runs every node, so it is the last of a list"
    if wrong:
        raise StartupError(f"the provider {text!r}: {wrong}; give a name, or a list such as tensorrt,cuda,cpu")
    return names


def provider_options(text: str) -> Options:
    """`openvino.device_type=GPU,cuda.device_id=1` -> the options of each provider; StartupError for another form."""
    found: dict[str, dict[str, str]] = {}
    for pair in _NEXT_PAIR.split(text) if text.strip() else ():
        match = _PAIR.fullmatch(pair)
        if match is None:
            raise StartupError(
                f"the provider options {text!r}: give PROVIDER.OPTION=VALUE, separated by commas, such as "
                "openvino.device_type=GPU,openvino.num_streams=2"
            )
        name, option, value = match.groups()
        options = found.setdefault(provider_name(name), {})
        if option in options:
            raise StartupError(f"the provider options {text!r}: {name}.{option} is there twice")
        options[option] = value.strip()
    return found


def refuse_idle_options(options: Options, names: Iterable[str], asked: str) -> None:
    """StartupError where there are options of a provider that is not among `names`; `asked` is what the user wrote."""
    idle = sorted(set(options) - set(names))
    if idle:
        raise StartupError(
            f"there are provider options of {', '.join(idle)}, and the provider {asked} does not use it; "
            "name it with --provider too, or leave them out"
        )


def refuse_absent(names: Sequence[str]) -> None:
    """ProviderUnavailable where this onnxruntime is built without one of `names`."""
    absent = absent_providers(names)
    if absent:
        raise unavailable(absent[0], "this onnxruntime is built without it")


def absent_providers(names: Iterable[str]) -> list[str]:
    """Those of `names` that this onnxruntime is built without."""
    built = ort.get_available_providers()
    return [name for name in names if name not in built]


def remedy(provider: str) -> str:
    """What to do where `provider` (onnxruntime's name) does not run."""
    return _REMEDY.get(provider) or f"This onnxruntime has {', '.join(ort.get_available_providers())}"


def unavailable(provider: str, why: str) -> ProviderUnavailable:
    """The error of a `provider` (onnxruntime's name) that does not run here, and what to do about it."""
    return ProviderUnavailable(f"the provider {provider} is not available: {why}. {remedy(provider)}")
