"""onnxruntime sessions: opened on the provider that was asked for or not at all, and checked against the card."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnxruntime as ort

from amcl_serve.errors import BundleError, ProviderUnavailable
from amcl_serve.machine import cuda_libraries, missing_libraries

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
FLOAT, UINT8 = "tensor(float)", "tensor(uint8)"
CUDA_VERSION = str(getattr(ort, "cuda_version", "")) or "13"  # that onnxruntime is built for; empty in a CPU build
_SHORT = {"cpu": CPU, "cuda": CUDA}


def provider_name(name: str) -> str:
    """onnxruntime's name of a provider: `cpu` and `cuda` are spelt out, any other name is taken as it is."""
    return _SHORT.get(name.lower(), name)


def open_session(path: Path, *, provider: str, threads: int) -> ort.InferenceSession:
    """Open the graph in `path` on `provider` (onnxruntime's name) with `threads` workers that sleep when idle.

    Raises ProviderUnavailable when onnxruntime would use another provider, BundleError when it cannot read the graph.
    """
    if provider not in ort.get_available_providers():
        raise unavailable(provider, "this onnxruntime is built without it")
    if provider == CUDA:
        preload_cuda()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning steals the decoders' cores
    options.log_severity_level = 3  # errors only
    try:
        with _quiet(provider):
            session = ort.InferenceSession(path, options, providers=[provider])
    except Exception as error:  # onnxruntime's exceptions share no base class
        if provider != CPU:
            raise unavailable(provider, "onnxruntime could not start it") from error
        raise BundleError(
            f"{path.parent.name}/{path.name} is no graph that onnxruntime {ort.__version__} can load"
        ) from error
    # A provider whose libraries are missing is listed as available all the same; the session falls back to the CPU.
    if session.get_providers()[0] != provider:
        missing = missing_libraries(cuda_libraries(CUDA_VERSION)) if provider == CUDA else []
        named = f" ({', '.join(missing)} cannot be loaded)" if missing else ""
        raise unavailable(provider, f"its libraries or its device did not load{named}")
    return session


@contextlib.contextmanager
def _quiet(provider: str) -> Iterator[None]:
    """Keep onnxruntime from writing pages to stderr about CUDA's libraries; the error names them in a line."""
    if provider == CUDA:
        ort.set_default_logger_severity(4)
    try:
        yield
    finally:
        if provider == CUDA:
            ort.set_default_logger_severity(2)  # onnxruntime's own default


def preload_cuda() -> None:
    """Load CUDA's libraries as pip installs them, which no loader path names; what is missing is noticed later."""
    if hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it misses among a command's output
            ort.preload_dlls(directory="")


def unavailable(provider: str, why: str) -> ProviderUnavailable:
    """The error of a `provider` (onnxruntime's name) that does not run here, and what to do about it."""
    if provider == CUDA:
        remedy = (
            "Install amcl-serve[gpu], without the cpu extra beside it, on a machine with an NVIDIA driver, "
            "or choose the provider cpu; amcl-serve doctor names what is missing"
        )
    else:
        remedy = f"This onnxruntime has {', '.join(ort.get_available_providers())}"
    return ProviderUnavailable(f"the provider {provider} is not available: {why}. {remedy}")


def check_graph(name: str, session: ort.InferenceSession, expected: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    """Check each of the session's inputs and outputs that `expected` names: its type, and its shape after a dynamic N.

    A dimension that the graph leaves open is accepted. Raises BundleError, calling the graph `name`.
    """
    nodes = {node.name: node for node in (*session.get_inputs(), *session.get_outputs())}
    for key, (kind, dims) in expected.items():
        node = nodes.get(key)
        if node is None or node.type != kind or not _fits(node.shape, dims):
            found = "none" if node is None else f"{node.type} {node.shape}"
            wanted = f"{kind} [N, {', '.join(map(str, dims))}]"
            raise BundleError(f"{name}: the card asks for {key} of {wanted} with a dynamic N; the graph has {found}")


def _fits(shape: list[int | str | None], dims: tuple[int, ...]) -> bool:
    if len(shape) != len(dims) + 1 or isinstance(shape[0], int):
        return False
    return all(have == want or not isinstance(have, int) for have, want in zip(shape[1:], dims, strict=True))
