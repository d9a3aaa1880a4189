"""onnxruntime sessions: opened on the provider that was asked for or not at all, and checked against the card."""

from __future__ import annotations

import contextlib
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnxruntime as ort

from amcl_serve.errors import BundleError
from amcl_serve.machine import cuda_libraries, missing_libraries
from amcl_serve.model.providers import CPU, CUDA, TENSORRT, Options, refuse_absent, unavailable

FLOAT, UINT8 = "tensor(float)", "tensor(uint8)"
CUDA_VERSION = str(getattr(ort, "cuda_version", "")) or "13"  # that onnxruntime is built for; empty in a CPU build

Placement = Mapping[str, Mapping[str, int]]  # provider -> operator -> nodes


def open_session(
    path: Path, *, threads: int, providers: Sequence[str] = (CPU,), options: Options | None = None
) -> ort.InferenceSession:
    """Open the graph in `path` with `threads` workers that sleep when idle.

    Each node goes to the first of `providers` (onnxruntime's names) that takes it, with the `options` of each, and to
    the CPU if none does. Raises ProviderUnavailable when the first would not be used, BundleError when onnxruntime
    cannot read the graph.
    """
    first = providers[0]
    refuse_absent(providers)
    nvidia = not {CUDA, TENSORRT}.isdisjoint(providers)
    if nvidia:
        preload_cuda()
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning steals the decoders' cores
    settings.log_severity_level = 3  # errors only
    if first != CPU:
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    given = [(name, dict(options[name])) if options and options.get(name) else name for name in providers]
    try:
        with _quiet(nvidia):
            # Without `enable_fallback`: it opens the session anew on the CPU, here and when a later run fails.
            session = ort.InferenceSession(path, settings, providers=given, enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions share no base class
        if first != CPU:
            why = f"onnxruntime could not start it{_missing(nvidia)} ({_first_line(error)})"
            raise unavailable(first, why) from error
        raise BundleError(
            f"{path.parent.name}/{path.name} is no graph that onnxruntime {ort.__version__} can load"
        ) from error
    # A provider whose libraries are missing is listed as available all the same; the session falls back to the next.
    if session.get_providers()[0] != first:
        why = f"its libraries or its device did not load{_missing(nvidia)}"
        if options and options.get(first):
            why += " with " + ", ".join(f"{option}={value}" for option, value in options[first].items())
        raise unavailable(first, why)
    placed = placement(session)
    if placed is not None and first not in placed:
        raise unavailable(first, f"it takes no node of {path.name}, which would run on {', '.join(sorted(placed))}")
    return session


def placement(session: ort.InferenceSession) -> Placement | None:
    """Which operators run on which provider; None of a session on the CPU, and where onnxruntime is older than 1.24."""
    ask = getattr(session, "get_provider_graph_assignment_info", None)
    if ask is None or session.get_providers()[0] == CPU:
        return None
    found: dict[str, Counter[str]] = {}
    for part in ask():
        found.setdefault(part.ep_name, Counter()).update(node.op_type for node in part.get_nodes())
    return found


def left_to_the_cpu(placed: Placement) -> str | None:
    """What of a graph runs on the CPU, in words; None where nothing does."""
    left = placed.get(CPU)
    if not left:
        return None
    kinds = sorted(left.items(), key=lambda item: (-item[1], item[0]))
    named = ", ".join(f"{count} {kind}" for kind, count in kinds)
    nodes = sum(sum(operators.values()) for operators in placed.values())
    return f"{sum(left.values())} of {nodes} nodes run on the CPU ({named})"


def check_version(name: str, least: str | None) -> None:
    """BundleError where the graphs of the bundle `name` need a newer onnxruntime, `least` by its card, than this is."""
    if least is not None and _numbers(least) > _numbers(ort.__version__):
        raise BundleError(
            f"bundle {name} needs onnxruntime {least} or newer, and {ort.__version__} is installed: upgrade it "
            "(pip install --upgrade onnxruntime, or onnxruntime-gpu where that is the one installed)"
        )


def _numbers(version: str) -> tuple[int, ...]:
    """`1.24.1+cu13` -> (1, 24, 1), as versions compare."""
    return tuple(map(int, re.findall(r"\d+", version.partition("+")[0])[:3]))


def _missing(nvidia: bool) -> str:
    """Which of CUDA's libraries are not here, in words, if they are needed."""
    missing = missing_libraries(cuda_libraries(CUDA_VERSION)) if nvidia else []
    return f" ({', '.join(missing)} cannot be loaded)" if missing else ""


@contextlib.contextmanager
def _quiet(nvidia: bool) -> Iterator[None]:
    """Keep onnxruntime from writing pages to stderr about CUDA's libraries; the error names them in a line."""
    if nvidia:
        ort.set_default_logger_severity(4)
    try:
        yield
    finally:
        if nvidia:
            ort.set_default_logger_severity(2)  # onnxruntime's own default


def preload_cuda() -> None:
    """Load CUDA's libraries as pip installs them, which no loader path names; what is missing is noticed later."""
    if hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it misses among a command's output
            ort.preload_dlls(directory="")


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


def _first_line(error: BaseException) -> str:
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line if len(line) <= 200 else "…" + line[-200:]  # it begins with places in onnxruntime's source
