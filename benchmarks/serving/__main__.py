"""How fast the server is: `make bench-serving`.

    python -m benchmarks.serving [--bundle DIR] [--seconds 4] [--rounds 3] [--only peers|bound|profile|precision]

- `vs_litserve_json`, `vs_litserve_raw`, `vs_plain_json`: answers a second at 16 connections over LitServe's and over a
  plain FastAPI endpoint's, one image a request, the same kind of body on both sides. `p50_rank`: place of our median
  latency at 1 connection among all servers, the worse of JSON and raw.
- `vs_bound_batch32`, `vs_bound_single`: images a second in requests of 32 images (multipart and JSON, the slower
  counts) and of one raw image, over the same decode and session calls in a plain loop on all cores.
- `int8_speedup`: images a second of the int8 encoder over the bundle's fp32 or fp16 one (computed as fp32 on a CPU), in
  this process, without decoding.

The same ONNX file, images, bodies and connections for every server; ours at its defaults, each peer with the settings
that did best in a search at the start. Servers run one at a time and take turns; a ratio is the median over rounds.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime as ort

from amcl_serve.errors import AmclError
from amcl_serve.hosting.opening import find_bundle
from amcl_serve.machine import cores
from amcl_serve.model.bundle import CARD_FILE, Bundle
from amcl_serve.model.encoder import Encoder
from amcl_serve.model.pixels import decode
from benchmarks.serving import bound as serving_bound
from benchmarks.serving.load import (
    BODIES,
    FILE_BYTES,
    HEIGHT,
    IMAGES,
    WIDTH,
    draw_image,
    median_ratio,
    rank,
    write_bodies,
)
from benchmarks.serving.profile import cpu_by_thread
from benchmarks.serving.servers import (
    LITSERVE,
    MOSEC,
    OURS,
    PEERS,
    PLAIN,
    Settings,
    base_peer,
    candidates,
    described,
    start,
)
from benchmarks.serving.turns import PATH, Key, Results, Stage, Task, Vector, serving, turn

PARTS = ("peers", "bound", "profile", "precision")
FIGURES = (  # printed last
    "vs_litserve_json",
    "vs_litserve_raw",
    "vs_plain_json",
    "p50_rank",
    "vs_bound_batch32",
    "vs_bound_single",
    "int8_speedup",
)
SEARCH_SECONDS = 2
MANY_CONNECTIONS = 4  # of requests of 32 images


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 2 where it cannot be measured."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the servers are ended as they are by Ctrl-C
    if shutil.which("wrk") is None:
        print("bench-serving: wrk is not installed; it is Debian's package of that name", file=sys.stderr)
        return 2
    try:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(options, Path(folder))
            bench.introduce()
            figures: dict[str, str] = {}
            for part in [options.only] if options.only else PARTS:
                figures |= getattr(bench, part)()
    except (AmclError, RuntimeError) as error:
        print(f"bench-serving: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    for name in sorted(figures, key=lambda name: FIGURES.index(name) if name in FIGURES else -1):
        print(f"{name} = {figures[name]}")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description="Measure how fast the server is.", allow_abbrev=False
    )
    parser.add_argument("--bundle", default="default", help="a bundle's folder, or the name of a shipped one")
    parser.add_argument("--seconds", type=int, default=4, help="of each load")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each server")
    parser.add_argument("--only", choices=PARTS, help="one part of the figures")
    return parser.parse_args(arguments)


class Bench:
    """The four parts, each a method that prints what it measures and returns the figures for the end."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.cores = options, cores()
        self.bundle = Bundle.open(find_bundle(options.bundle))
        self.images = [draw_image(seed) for seed in range(IMAGES)]
        self.scaled = self.bundle.card.input.scaled_jpeg_decoding
        self.base = base_peer(self.bundle)
        bundles = {self.scaled: self.bundle.folder, not self.scaled: _other_decoding(self.bundle, folder / "other")}
        bodies = write_bodies(folder, self.images)
        self.stage = Stage(bodies, {scaled: self._expected(scaled) for scaled in bundles}, bundles, folder)

    def _expected(self, scaled: bool) -> Vector:
        spec = self.bundle.card.input.model_copy(update={"scaled_jpeg_decoding": scaled})
        encoder = Encoder.load(self.bundle, precision="int8", session_threads=1)
        return encoder.encode(decode(self.images[0], spec, max_pixels=WIDTH * HEIGHT)[None]).features[0]

    def introduce(self) -> None:
        """What runs where."""
        print(
            f"{platform.processor() or 'CPU'}, {self.cores} cores, onnxruntime {ort.__version__}; bundle "
            f"{self.bundle.card.name}, int8, {self.bundle.card.input.size} px; {IMAGES} drawn JPEG images of "
            f"{WIDTH}x{HEIGHT} pixels and {FILE_BYTES // 1000} KB; wrk, one thread, on the same cores\n"
            f"load average before: {os.getloadavg()[0]:.1f}; other work on these cores makes all figures worthless\n"
            f"decoding, by the card: {'scaled' if self.scaled else 'full'} (input.scaled_jpeg_decoding)",
            flush=True,
        )

    def peers(self) -> dict[str, str]:
        """Ours against each peer at its best."""
        best = {peer: self._search(peer, found) for peer, found in candidates(self.cores).items()}
        results, order = Results(), [OURS, *PEERS]
        for number in range(self.options.rounds):
            for server in order[number % len(order) :] + order[: number % len(order)]:
                for body in BODIES:
                    self._turns(results, server, body, best.get(server, {}))
            print(f"round {number + 1} of {self.options.rounds} is done", flush=True)
        for line in results.table():
            print(line)
        return self._compared(results)

    def _search(self, peer: str, tried: list[Settings]) -> dict[int, Settings]:
        """The settings of the most answers at 16 connections, and those of the lowest median latency at 1."""
        rates, latencies = [], []
        for settings in tried:
            begin = start(peer, self.base, settings, body="json", scaled=False)
            busy, idle = turn(begin, [Task("json", 16), Task("json", 1)], SEARCH_SECONDS, self.stage)
            rates.append(busy.load.rate)
            latencies.append(idle.load.p50)
            print(f"{peer}, {described(settings)}: {rates[-1]:.0f}/s, alone {latencies[-1]:.2f} ms", flush=True)
        best = {16: tried[int(np.argmax(rates))], 1: tried[int(np.argmin(latencies))]}
        print(f"{peer} at 16 connections: {described(best[16])}; at 1: {described(best[1])}", flush=True)
        return best

    def _turns(self, results: Results, server: str, body: str, best: dict[int, Settings]) -> None:
        """One server's turns of a round: as it decodes by default, and the other way where the card allows scaling."""
        usual = self.scaled and server == OURS
        self._turn(results, server, body, best, usual, (16, 1))
        if self.scaled:
            self._turn(results, server, body, best, not usual, (16,))

    def _turn(
        self,
        results: Results,
        server: str,
        body: str,
        best: dict[int, Settings],
        scaled: bool,
        connections: Sequence[int],
    ) -> None:
        together = best.get(16) == best.get(1)
        for group in [connections] if together else [(count,) for count in connections]:
            begin = start(server, self.base, best.get(group[0]), body=body, scaled=scaled)
            samples = turn(begin, [Task(body, count) for count in group], self.options.seconds, self.stage)
            for count, sample in zip(group, samples, strict=True):
                results.add(Key(body, count, server, scaled), sample)

    def _compared(self, results: Results) -> dict[str, str]:
        def ratio(peer: str, body: str, ours: bool = self.scaled, theirs: bool = False, against: str = "") -> str:
            mine, other = Key(body, 16, OURS, ours), Key(against or body, 16, peer, theirs)
            return f"{median_ratio(results.rates(mine), results.rates(other)):.2f}"

        names = {LITSERVE: "litserve", MOSEC: "mosec", PLAIN: "plain"}
        figures = {f"vs_{names[peer]}_{body}": ratio(peer, body) for peer in PEERS for body in BODIES}
        figures["vs_litserve_raw_over_json"] = ratio(LITSERVE, "raw", against="json")
        if self.scaled:
            for peer in PEERS:
                for body in BODIES:
                    figures[f"vs_{names[peer]}_{body}_both_full"] = ratio(peer, body, ours=False)
                    figures[f"vs_{names[peer]}_{body}_both_scaled"] = ratio(peer, body, theirs=True)
        ranks = {}
        for body in BODIES:
            keys = {OURS: Key(body, 1, OURS, self.scaled)} | {peer: Key(body, 1, peer, False) for peer in PEERS}
            ranks[f"p50_rank_{body}"] = rank(OURS, {server: results.p50(key) for server, key in keys.items()})
        print(
            f"decoding: ours {'scaled' if self.scaled else 'full'}, the peers' full, unless a figure's name says "
            "both_full or both_scaled; raw is raw on both sides, raw_over_json ours raw and theirs JSON"
        )
        return figures | {name: str(value) for name, value in (ranks | {"p50_rank": max(ranks.values())}).items()}

    def bound(self) -> dict[str, str]:
        """Ours against a plain loop, in turns."""
        name, seconds = str(self.bundle.folder), float(self.options.seconds)
        found = {}
        for layout, run in serving_bound.LAYOUTS.items():
            found[layout] = run(name, self.images, self.cores, seconds)
            print(f"plain loop, {layout}: {found[layout]:.0f} images/s", flush=True)
        best = max(found, key=found.__getitem__)
        tasks = [Task("multipart32", MANY_CONNECTIONS), Task("json32", MANY_CONNECTIONS), Task("raw", 16)]
        begin = start(OURS, self.base, None, body="raw", scaled=self.scaled)
        bounds: list[float] = []
        rates: dict[str, list[float]] = {task.body: [] for task in tasks}
        for _ in range(self.options.rounds):
            bounds.append(serving_bound.LAYOUTS[best](name, self.images, self.cores, seconds))
            for task, sample in zip(tasks, turn(begin, tasks, self.options.seconds, self.stage), strict=True):
                rates[task.body].append(sample.load.rate * (1 if task.body == "raw" else 32))
        ratios = {body: median_ratio(values, bounds) for body, values in rates.items()}
        print(f"the bound ({best}): {median(bounds):.0f} images/s")
        for task in tasks:
            print(f"{task.body}, {task.connections} connections: {median(rates[task.body]):.0f} images/s", flush=True)
        figures = {f"vs_bound_{body}": ratios[body] for body in ("multipart32", "json32")}
        figures |= {"vs_bound_batch32": min(figures.values()), "vs_bound_single": ratios["raw"]}
        return {name: f"{value:.3f}" for name, value in figures.items()}

    def profile(self) -> dict[str, str]:
        """CPU time of our threads; no figure for the end."""
        for body in BODIES:
            begin, kind = start(OURS, self.base, None, body=body, scaled=self.scaled), self.stage.bodies[body]
            with serving(begin, self.stage) as server:
                try:
                    spent = cpu_by_thread(
                        server.process.pid, server.url + PATH, kind, connections=16, seconds=self.options.seconds
                    )
                except RuntimeError as error:
                    print(f"no profile: {error}", flush=True)
                    break
            threads = ", ".join(f"{name} {ms:.2f}" for name, ms in spent.items() if ms >= 0.005)
            print(f"CPU ms a request, {body}: {sum(spent.values()):.2f}, of which {threads}", flush=True)
        return {}

    def precision(self) -> dict[str, str]:
        """int8 against the wider encoder that the bundle has."""
        wide = next(precision for precision in ("fp32", "fp16") if precision in self.bundle.precisions)
        speeds = serving_bound.encoder_speeds(self.bundle, ("int8", wide), self.cores, 3.0 * self.options.seconds)
        note = " (its weights are kept in half precision and computed in single)" if wide == "fp16" else ""
        print(f"in-process: int8 {speeds['int8']:.0f} images/s, {wide}{note} {speeds[wide]:.0f}", flush=True)
        return {"int8_speedup": f"{speeds['int8'] / speeds[wide]:.2f}"}


def _other_decoding(bundle: Bundle, folder: Path) -> Path:
    """The bundle with the other choice on its card, beside links to its files."""
    folder.mkdir()
    for name in bundle.card.files:
        (folder / name).symlink_to((bundle.folder / name).resolve())
    spec = bundle.card.input
    other = spec.model_copy(update={"scaled_jpeg_decoding": not spec.scaled_jpeg_decoding})
    (folder / CARD_FILE).write_text(bundle.card.model_copy(update={"input": other}).model_dump_json())
    return folder


if __name__ == "__main__":
    sys.exit(main())
