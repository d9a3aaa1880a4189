"""`amcl-serve doctor`: what would keep the server from starting, and what to do about it."""

from __future__ import annotations

import argparse
import platform
import tempfile
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal, NamedTuple

from amcl_serve.collections.database import Database
from amcl_serve.commands.options import add_settings, settings_from
from amcl_serve.commands.serve import listen
from amcl_serve.errors import StartupError, StorageError
from amcl_serve.settings import Settings

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

RUNTIMES = ("onnxruntime", "onnxruntime-gpu")  # both install the module `onnxruntime`


class Finding(NamedTuple):
    """One line of the report."""

    status: Literal["ok", "warn", "fail"]
    what: str
    said: str


def add_parser(subparsers: Subparsers) -> None:
    """Add `doctor`."""
    parser = subparsers.add_parser(
        "doctor",
        help="check that the server can start here",
        description="Check onnxruntime, the model, the data folder and the port. Exit code 1 if anything fails.",
    )
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the findings as they come; 1 if any is `fail`."""
    settings = settings_from(args)
    failed = False
    for check in (_python, _runtime, _providers, _model, _data_dir, _port):
        finding = check(settings)
        failed |= finding.status == "fail"
        print(f"{finding.status:<5} {finding.what:<12} {finding.said}", flush=True)
    return 1 if failed else 0


def _python(_: Settings) -> Finding:
    return Finding("ok", "python", f"{platform.python_version()} on {platform.machine()}")


def _runtime(_: Settings) -> Finding:
    found = {name: number for name in RUNTIMES if (number := _version(name)) is not None}
    said = " and ".join(f"{name} {number}" for name, number in found.items())
    if len(found) == 1:
        return Finding("ok", "onnxruntime", said)
    if not found:
        return Finding("fail", "onnxruntime", "not installed; pip install 'amcl-serve[cpu]', or [gpu]")
    return Finding(
        "fail", "onnxruntime", f"{said} overwrite each other's files: uninstall both, then install the one you need"
    )


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _providers(settings: Settings) -> Finding:
    try:
        import onnxruntime as ort
    except ImportError:
        return Finding("fail", "providers", "onnxruntime cannot be imported; install it again")
    names = ort.get_available_providers()
    said = ", ".join(names)
    if settings.provider == "cpu" and "CUDAExecutionProvider" in names:
        return Finding("warn", "providers", f"{said}; only the CPU is asked for, --provider cuda would use the GPU")
    return Finding("ok", "providers", said)


def _model(settings: Settings) -> Finding:
    try:
        from amcl_serve.registry import load_model

        model = load_model(settings)
        model.encoder.verify_probe()
    except StartupError as error:
        return Finding("fail", "model", error.detail)
    except ImportError:
        return Finding("fail", "model", "not tried: onnxruntime cannot be imported")
    encoder = model.encoder
    return Finding(
        "ok",
        "model",
        f"{model.name}, {encoder.precision} on {encoder.provider}: files, hashes and probe as on the card",
    )


def _data_dir(settings: Settings) -> Finding:
    folder = settings.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"x")
    except OSError as error:
        return Finding("fail", "data folder", f"{folder}: {error.strerror}; choose another --data-dir or allow writing")
    try:
        Database(folder).close()
    except StorageError as error:
        return Finding("fail", "data folder", error.detail)
    return Finding("ok", "data folder", f"{folder} can be written, and no other server uses it")


def _port(settings: Settings) -> Finding:
    try:
        listen(settings).close()
    except StartupError as error:
        return Finding("fail", "port", error.detail)
    return Finding("ok", "port", f"{settings.port} on {settings.host} is free")
