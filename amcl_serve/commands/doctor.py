"""`amcl-serve doctor`: what would keep the server from starting, and what to do about it."""

from __future__ import annotations

import argparse
import io
import json
import platform
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal, NamedTuple

from PIL import Image

from amcl_serve import machine
from amcl_serve.commands.options import add_settings, settings_from
from amcl_serve.commands.serve import listen
from amcl_serve.errors import AmclError, StartupError, StorageError
from amcl_serve.http.guards.keys import Keys
from amcl_serve.machine import mebibytes
from amcl_serve.model.bundle import Bundle
from amcl_serve.model.formats import turns
from amcl_serve.model.pixels import upright
from amcl_serve.settings import Settings
from amcl_serve.vectors.opening import MILVUS, open_store
from amcl_serve.vectors.sqlite.database import check_data_dir

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")  # all install the module `onnxruntime`
INSTALL_GPU = "uninstall onnxruntime and onnxruntime-gpu, then pip install 'amcl-serve[gpu]', which brings them"

PROCESS_BYTES = 150 * 2**20  # before a model; 100 MiB measured
BYTES_A_PIXEL = 16  # of the dearest images
CHILD_BYTES = 40 * 2**20  # of a process that decodes, idle; 36 MiB measured
DISK_LOW, DISK_FULL = 2**30, 100 * 2**20


class Finding(NamedTuple):
    """One line of the report."""

    status: Literal["ok", "warn", "fail"]
    check: str
    detail: str


def add_parser(subparsers: Subparsers) -> None:
    """Add `doctor`."""
    parser = subparsers.add_parser(
        "doctor",
        help="check that the server can start here",
        description="Check the keys, onnxruntime, CUDA's libraries, memory, the models, the data folder, the disk and "
        "the port. Exit code 1 if anything fails.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object: ok, and the checks")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the findings as they come, or as JSON at the end; 1 if any is `fail`."""
    findings = []
    for finding in examine(settings_from(args)):
        findings.append(finding)
        if not args.json:
            print(f"{finding.status:<5} {finding.check:<12} {finding.detail}", flush=True)
    ok = all(finding.status != "fail" for finding in findings)
    if args.json:
        print(json.dumps({"ok": ok, "checks": [finding._asdict() for finding in findings]}, indent=2))
    return 0 if ok else 1


def examine(settings: Settings) -> Iterator[Finding]:
    """The findings, in the order in which the server would come to each."""
    yield Finding("ok", "python", f"{platform.python_version()} on {platform.machine()}")
    yield _keys(settings)
    yield _runtime()
    yield from _providers(settings)
    yield _memory(settings)
    yield _children()
    yield from _models(settings)
    if settings.vectors.startswith(MILVUS):
        yield _milvus(settings)
    else:
        yield _data_dir(settings)
        yield _disk(settings)
    yield _port(settings)


def _keys(settings: Settings) -> Finding:
    try:
        keys = Keys.load(settings)
    except StartupError as error:
        return Finding("fail", "keys", error.detail)
    return Finding("ok", "keys", "asked for" if keys else "none: whoever reaches the port may read and write")


def _runtime() -> Finding:
    found = {name: number for name in RUNTIMES if (number := _version(name)) is not None}
    said = " and ".join(f"{name} {number}" for name, number in found.items())
    if len(found) == 1:
        return Finding("ok", "onnxruntime", said)
    if not found:
        return Finding("fail", "onnxruntime", "not installed; pip install 'amcl-serve[cpu]', or [gpu]")
    return Finding(
        "fail", "onnxruntime", f"{said} overwrite each other's files: uninstall them, then install the one you need"
    )


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _providers(settings: Settings) -> Iterator[Finding]:
    try:
        import onnxruntime as ort

        from amcl_serve.model.providers import CUDA, TENSORRT, absent_providers, provider_names
    except ImportError:
        yield Finding("fail", "providers", "onnxruntime cannot be imported; uninstall it and install it again")
        return
    built = ort.get_available_providers()
    try:
        given = [provider_names(text) for text in (settings.provider, settings.require_provider or "auto")]
    except StartupError as error:
        yield Finding("fail", "providers", error.detail)
        return
    asked = {name for names in given for name in names} - {"auto"}
    said = ", ".join(built)
    absent = sorted(absent_providers(asked))
    if absent:
        remedy = INSTALL_GPU if {CUDA, TENSORRT} & set(absent) else "choose one of them"
        yield Finding("fail", "providers", f"{', '.join(absent)} is asked for, this onnxruntime has {said}: {remedy}")
    elif CUDA in built and asked and CUDA not in asked:
        yield Finding("warn", "providers", f"{said}; --provider {settings.provider} leaves the GPU, cuda would use it")
    else:
        yield Finding("ok", "providers", said)
    if CUDA in built and (CUDA in asked or not asked):
        yield _cuda(needed=CUDA in asked)


def _cuda(*, needed: bool) -> Finding:
    """Whether CUDA can run; where it is only tried (`--provider auto`), the CPU takes its place."""
    from amcl_serve.model.sessions import CUDA_VERSION, preload_cuda

    preload_cuda()
    names = machine.cuda_libraries(CUDA_VERSION)
    missing = machine.missing_libraries(names)
    toolkit = [name for name in missing if name != machine.DRIVER]
    wrong = []
    if toolkit:
        wrong.append(
            f"{', '.join(toolkit)} cannot be loaded: {INSTALL_GPU}, or put CUDA {CUDA_VERSION} on the loader's path"
        )
    if machine.DRIVER in missing:
        wrong.append(
            f"{machine.DRIVER} cannot be loaded: install NVIDIA's driver; in a container, docker run --gpus all"
        )
    elif not machine.gpus():
        wrong.append("the driver gives this process no GPU: see nvidia-smi; in a container, docker run --gpus all")
    if not wrong:
        return Finding("ok", "cuda", f"CUDA {CUDA_VERSION}: {len(names)} libraries load, GPUs: {machine.gpus()}")
    why = "; ".join(wrong)
    return Finding("fail", "cuda", why) if needed else Finding("warn", "cuda", f"{why}; until then the CPU is used")


def _memory(settings: Settings) -> Finding:
    found = machine.memory()
    if found is None:
        return Finding("warn", "memory", "not known here: nothing says how much is free")
    try:
        from amcl_serve.hosting.opening import find_bundle, memory_needed

        bundles = [Bundle.open(find_bundle(name, settings.model_dir), verify=False) for name in settings.model]
        need = PROCESS_BYTES + sum(memory_needed(bundle, settings) for bundle in bundles)
    except (StartupError, ImportError):
        return Finding("warn", "memory", f"{mebibytes(found.free)} free; the need is not known without the model")
    busy = need + settings.max_inflight_bytes + decoding_bytes(settings)
    said = f"{mebibytes(found.free)} left by {found.bound}, about {mebibytes(need)} needed"
    if found.free < need:
        return Finding("fail", "memory", f"{said}: give it more, or serve fewer or smaller models")
    if found.free < busy:
        return Finding(
            "warn", "memory", f"{said} and up to {mebibytes(busy)} under the worst load: give it more, or lower "
            "--max-pixels, --decode-threads or --max-inflight-bytes",
        )  # fmt: skip
    return Finding("ok", "memory", f"{said}, up to {mebibytes(busy)} under the worst load")


def decoding_bytes(settings: Settings) -> int:
    """The most that decoding takes at a time: the large images together, a small one in each thread, and children."""
    pixels = max(turns.MOST, settings.max_pixels) + turns.SMALL * settings.decode_threads
    return BYTES_A_PIXEL * pixels + CHILD_BYTES * min(settings.decode_threads, machine.cores())


def _children() -> Finding:
    """Whether the processes can be started in which most formats are decoded."""
    stream = io.BytesIO()
    Image.new("RGB", (2, 2)).save(stream, "BMP")
    try:
        upright(stream.getvalue())
    except AmclError as error:
        return Finding("fail", "decoding", f"a child process cannot decode: {error.detail}")
    return Finding("ok", "decoding", "a child process decodes what is not a common JPEG, PNG or WebP")


def _models(settings: Settings) -> Iterator[Finding]:
    """Load every model as the server does, one after the other."""
    try:
        from amcl_serve.hosting.lifecycle import warm_up
        from amcl_serve.hosting.opening import load_models
        from amcl_serve.model.sessions import left_to_the_cpu
    except ImportError:
        yield Finding("fail", "model", "not tried: onnxruntime cannot be imported")
        return
    try:
        models = load_models(settings)
        for model in models:
            warm_up(model, settings.max_batch)
            model.encoder.verify_probe()
            encoder = model.encoder
            said = f"{model.name}, {encoder.precision} on {encoder.provider}: files, hashes and probe as on the card"
            left = None if encoder.placement is None else left_to_the_cpu(encoder.placement)
            yield Finding("warn" if left else "ok", "model", f"{said}; {left}" if left else said)
    except StartupError as error:
        yield Finding("fail", "model", error.detail)


def _data_dir(settings: Settings) -> Finding:
    folder = settings.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"x")
    except OSError as error:
        return Finding("fail", "data folder", f"{folder}: {error.strerror}; choose another --data-dir or allow writing")
    try:
        check_data_dir(folder)
    except StorageError as error:
        return Finding("fail", "data folder", error.detail)
    return Finding("ok", "data folder", f"{folder} can be written, and no other server uses it")


def _milvus(settings: Settings) -> Finding:
    try:
        open_store(settings).close()
    except StorageError as error:
        return Finding("fail", "milvus", error.detail)
    return Finding("ok", "milvus", f"answers at {settings.vectors.removeprefix(MILVUS)}")


def _disk(settings: Settings) -> Finding:
    try:
        free = shutil.disk_usage(settings.data_dir).free
    except OSError as error:
        return Finding("fail", "disk", f"{settings.data_dir}: {error.strerror}; choose another --data-dir")
    said = f"{mebibytes(free)} free for {settings.data_dir}"
    remedy = "make room, or choose a --data-dir on another disk; a write that finds no room is refused (507)"
    if free < DISK_LOW:
        return Finding("fail" if free < DISK_FULL else "warn", "disk", f"only {said}: {remedy}")
    return Finding("ok", "disk", said)


def _port(settings: Settings) -> Finding:
    try:
        listen(settings).close()
    except StartupError as error:
        return Finding("fail", "port", error.detail)
    return Finding("ok", "port", f"{settings.port} on {settings.host} is free")
