"""onnxruntime on CUDA: whether it is really used, agrees with the CPU, how fast it is, and what the commands say.

    python -m benchmarks.serving.onnx_cuda [--provider cuda] [--bundle default] [--only agreement,speed,server,commands]

Needs `amcl-serve[gpu]`, or `[cpu]` to rehearse with `--provider cpu`. With CUDA, TensorRT is tried at the end. Other
providers are measured by it too: `--provider openvino --only agreement,speed,server`, with onnxruntime-openvino.

- `agreement`: features and heads of drawn photographs against the CPU's at the same precision: least and mean cosine,
  largest absolute difference. They agree when the least cosine is `TOLERANCE` or more.
- `speed`: images a second of the encoder in this process, by batch size, without decoding.
- `server`: images a second through `amcl-serve serve --require-provider`, from processes with a connection each, one
  image a request and 32.
- `commands`: what `amcl-serve serve --require-provider cuda` and `amcl-serve doctor --provider cuda` say and exit with,
  as it is, and with the GPU hidden from them.

A provider that does not load is a finding, noted with its error, and no reason to stop. Every finding is a line in
`--results`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from amcl_serve.errors import StartupError
from amcl_serve.hosting.opening import find_bundle
from amcl_serve.model.bundle import Bundle
from amcl_serve.model.encoder import Embeddings, Encoder, unit_norm
from amcl_serve.model.pixels import decode
from amcl_serve.model.providers import CPU, CUDA, TENSORRT, provider_name
from benchmarks.processes import free_port, serving
from benchmarks.serving.closed_loop import answers
from benchmarks.serving.load import draw_image, write_bodies
from benchmarks.study.budget import RESULTS, ROOT, append, commit

PARTS = ("agreement", "speed", "server", "commands")
IMAGES = 64
TOLERANCE = 0.999  # the card's own for its probe image
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
FEW_BATCHES = (1, 32, IMAGES)  # of TensorRT, which builds its engine anew for each
START = 180.0  # seconds that a command may take to be ready
HIDDEN = {"CUDA_VISIBLE_DEVICES": "-1"}

Finding = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Find, note and print; 1 where a provider that loads does not agree with the CPU."""
    options = _parse(arguments)
    bundle = Bundle.open(find_bundle(options.bundle))
    agree = True
    for finding in _findings(bundle, options):
        agree &= finding.get("agrees", True)
        line = {"bundle": bundle.card.name, "gpu": _gpu(), "onnxruntime": ort.__version__, "commit": options.commit}
        append(options.results, line | finding)
        print(json.dumps(finding, indent=1), flush=True)
    return 0 if agree else 1


def _findings(bundle: Bundle, options: argparse.Namespace) -> Iterator[Finding]:
    yield from _of_provider(bundle, options.provider, BATCHES, options)
    if "server" in options.only:
        yield through_server(bundle, options)
    if "commands" in options.only:
        for hidden in (False, True) if _gpu() else (False,):
            yield serve_says(options.bundle, "cuda", hidden)
            yield doctor_says(options.bundle, "cuda", hidden)
    if provider_name(options.provider) == CUDA:
        yield from _of_provider(bundle, TENSORRT, FEW_BATCHES, options)


def _of_provider(
    bundle: Bundle, provider: str, batches: Sequence[int], options: argparse.Namespace
) -> Iterator[Finding]:
    finding, encoder = load(bundle, provider, options.precision)
    yield finding
    if encoder and "agreement" in options.only:
        images = [decode(draw_image(seed), bundle.card.input, max_pixels=10**7) for seed in range(IMAGES)]
        yield agreement(encoder, np.stack(images))
    if encoder and "speed" in options.only:
        yield speed(encoder, batches, options.seconds)


def load(bundle: Bundle, provider: str, precision: str = "auto") -> tuple[Finding, Encoder | None]:
    """Whether the encoder runs on the provider: it has to embed the probe image as the card says."""
    finding: Finding = {"part": "provider", "provider": provider, "available": ort.get_available_providers()}
    began = time.perf_counter()
    try:
        encoder = Encoder.load(bundle, precision=precision, provider=provider)
        encoder.verify_probe()
    except StartupError as error:
        return finding | {"loads": False, "error": f"{error.code}: {error.detail}"}, None
    except Exception as error:  # onnxruntime's exceptions share no base class
        return finding | {"loads": False, "error": f"it loads and does not run: {str(error).splitlines()[0]}"}, None
    seconds = round(time.perf_counter() - began, 2)
    return finding | {
        "loads": True,
        "used": encoder.provider,
        "precision": encoder.precision,
        "nodes": encoder.placement,
        "seconds": seconds,
    }, encoder


def agreement(encoder: Encoder, pixels: npt.NDArray[np.uint8]) -> Finding:
    """With the CPU's embeddings of the same pixels at the same precision."""
    ours = encoder.encode(pixels)
    theirs = Encoder.load(encoder.bundle, precision=encoder.precision, provider=CPU).encode(pixels)
    features, heads = (_compare(of(ours), of(theirs)) for of in (_features, _heads))
    return {
        "part": "agreement", "provider": encoder.provider, "precision": encoder.precision, "images": len(pixels),
        "features": features, "heads": heads, "tolerance": TOLERANCE,
        "agrees": min(features["min_cosine"], heads["min_cosine"]) >= TOLERANCE,
    }  # fmt: skip


def _features(embeddings: Embeddings) -> npt.NDArray[np.float32]:
    return embeddings.features


def _heads(embeddings: Embeddings) -> npt.NDArray[np.float32]:
    return embeddings.heads


def _compare(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> Finding:
    cosine = (unit_norm(ours) * unit_norm(theirs)).sum(-1)
    difference = np.abs(ours.astype(np.float64) - theirs).max()
    return {
        "min_cosine": round(float(cosine.min()), 7), "mean_cosine": round(float(cosine.mean()), 7),
        "max_abs": float(f"{difference:.3g}"), "scale": float(f"{np.abs(theirs).max():.3g}"),
    }  # fmt: skip


def speed(encoder: Encoder, batches: Sequence[int], seconds: float) -> Finding:
    """Medians of the calls that fit into so many seconds, by batch size."""
    size, random = encoder.bundle.card.input.size, np.random.default_rng(0)
    rates = {}
    for batch in batches:
        pixels = random.integers(0, 256, (batch, size, size, 3), np.uint8)
        rates[batch] = round(batch / _median(partial(encoder.encode, pixels), seconds), 1)
    return {
        "part": "speed", "provider": encoder.provider, "precision": encoder.precision, "images_per_second": rates,
    }  # fmt: skip


def _median(call: Callable[[], object], seconds: float) -> float:
    for _ in range(3):
        call()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def through_server(bundle: Bundle, options: argparse.Namespace) -> Finding:
    """Images a second of a server that has to use the provider."""
    finding: Finding = {"part": "server", "provider": options.provider, "clients": options.clients}
    with tempfile.TemporaryDirectory() as folder:
        bodies = write_bodies(Path(folder), [draw_image(seed) for seed in range(8)])
        words = ("--require-provider", options.provider, "--precision", options.precision)
        try:
            with serving(bundle.folder, Path(folder) / "server", *words) as server:
                port = server.port
                for kind, images in (("raw", 1), ("multipart32", 32)):
                    files = [file.read_bytes() for file in bodies[kind].files]
                    ask = partial(answers, port, "/embed", bodies[kind].content_type, files, clients=options.clients)
                    ask(seconds=1.0)
                    rate, other = ask(seconds=options.server_seconds)
                    finding |= {f"images_per_second_{kind}": round(images * rate, 1), f"other_answers_{kind}": other}
                finding["says"] = _of_model(server.log)
        except RuntimeError as error:  # it did not get ready
            finding["error"] = str(error).strip().splitlines()[-1]
    return finding


def serve_says(bundle: str, provider: str, hidden: bool) -> Finding:
    """Whether `amcl-serve serve --require-provider` gets ready, what it says, and its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        words = [
            "--model",
            bundle,
            "--require-provider",
            provider,
            "--port",
            str(free_port()),
            "--data-dir",
            f"{folder}/data",
        ]
        with log.open("wb") as stream:
            process = _cli("serve", *words, hidden=hidden, stdout=stream, stderr=subprocess.STDOUT)
            end = time.monotonic() + START
            while process.poll() is None and "is ready on" not in log.read_text() and time.monotonic() < end:
                time.sleep(0.1)
            ready = process.poll() is None and "is ready on" in log.read_text()
            process.terminate()
            process.wait(60)
        said = log.read_text().strip().splitlines()
        return {
            "part": "serve", "require_provider": provider, "gpu_hidden": hidden, "ready": ready,
            "exit_code": process.returncode, "says": _of_model(log) if ready else " ".join(said[-1:]),
        }  # fmt: skip


def doctor_says(bundle: str, provider: str, hidden: bool) -> Finding:
    """The lines of `amcl-serve doctor --provider` about providers, CUDA and the model, and its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["--json", "--model", bundle, "--provider", provider, "--port", str(free_port()), "--data-dir", folder]
        process = _cli("doctor", *words, hidden=hidden, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=START)
    finding: Finding = {"part": "doctor", "provider": provider, "gpu_hidden": hidden, "exit_code": process.returncode}
    try:
        checks = json.loads(out)["checks"]
    except ValueError:
        return finding | {"error": err.decode().strip()}
    about = ("onnxruntime", "providers", "cuda", "model")
    return finding | {c["check"]: f"{c['status']}: {c['detail']}" for c in checks if c["check"] in about}


def _cli(*words: str, hidden: bool, **streams: Any) -> subprocess.Popen[bytes]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AMCL_")}
    command = [sys.executable, "-m", "amcl_serve.cli", *words]
    return subprocess.Popen(command, cwd=ROOT, env=environment | (HIDDEN if hidden else {}), **streams)


def _of_model(log: Path) -> str:
    """What the server's log says of the model it loaded."""
    return next((line for line in log.read_text().splitlines() if "Provider" in line), "nothing of its provider")


def _gpu() -> str | None:
    """The first GPU's name and driver, None where there is none."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(query, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.splitlines()[0].strip() if said else None


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.onnx_cuda", description="onnxruntime on CUDA.")
    parser.add_argument("--provider", default="cuda", help="cuda, another such as openvino, or cpu to rehearse")
    parser.add_argument("--precision", default="auto", help="as of amcl-serve serve")
    parser.add_argument("--bundle", default="default", help="a bundle's folder, or the name of a shipped one")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a batch size")
    parser.add_argument("--server-seconds", type=float, default=8.0, help="of a kind of body")
    parser.add_argument("--clients", type=int, default=12, help="connections to the server, a process each")
    parser.add_argument("--results", type=Path, default=RESULTS / "onnx_cuda.jsonl", help="file of JSON lines")
    parser.add_argument("--commit", default=commit(), help="to note with each result, where git cannot say it")
    options = parser.parse_args(arguments)
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"--only takes {', '.join(PARTS)}, not {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    sys.exit(main())
