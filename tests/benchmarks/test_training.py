"""`make bench-training` at a tiny size: what it prints, and how it takes time."""

from __future__ import annotations

import multiprocessing
import time

import pytest
import torch

from benchmarks.training.__main__ import main
from benchmarks.training.images import write_images
from benchmarks.training.turns import Blocks, Pace, alternate, settled
from training import machine

CPU = torch.device("cpu")
TINY = ["--batch", "8", "--width", "4", "--blocks", "1", "--steps", "1"]


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder, 16, 32)
    return f"folder:{folder}"


@pytest.mark.slow
def test_ends_by_printing_the_figures(spec, capsys, monkeypatch):
    for module in (machine, machine.resources):  # of the benchmark, and of the runs it times
        monkeypatch.setattr(module, "cores", lambda: 1)
    threads = torch.get_num_threads()
    try:
        assert main(["--data", spec, *TINY, "--seconds", "0"]) == 0
    finally:
        torch.set_num_threads(threads)
    lines = capsys.readouterr().out.splitlines()
    figures = {name: float(value.split()[0]) for name, sign, value in (line.partition(" = ") for line in lines) if sign}
    both = ("resident", "workers")
    assert figures["of_compute_bound"] == min(figures[f"of_compute_bound_{source}"] for source in both)
    assert figures["vs_lightly"] == min(figures[f"vs_lightly_{precision}"] for precision in ("fp32", "bf16"))
    assert all(figures[name] > 0 for name in figures if name != "adaptive_step_cost")
    assert [line.partition(" = ")[0] for line in lines[-3:]] == [
        "of_compute_bound",
        "vs_lightly",
        "adaptive_step_cost",
    ]


def test_turns_grow_until_they_last_and_give_the_median_of_ratios():
    naps = {"ours": 0.005, "other": 0.01}
    taken = {"ours": 0, "other": 0}

    def nap(who):
        def run(steps):
            taken[who] += steps
            time.sleep(steps * naps[who])

        return run

    blocks = alternate(nap("ours"), nap("other"), CPU, Pace(blocks=3, seconds=0.08))
    assert blocks.size == 20  # 4 of the faster last 20 ms
    assert len(blocks.ours) == 3
    assert taken == dict.fromkeys(taken, 1 + 4 + 20 + 3 * 20)
    assert blocks.speedup == pytest.approx(2, rel=0.4)


def test_the_first_block_on_a_gpu_is_not_taken_for_its_pace():
    blocks = Blocks(Pace(blocks=1, seconds=1.0), torch.device("cuda"))
    assert not blocks.add(9.0, 9.0)
    assert not blocks.add(0.1, 0.1)
    assert blocks.size == 4


def _work(seconds):
    began = time.process_time()
    while time.process_time() - began < seconds:
        pass
    time.sleep(30)


def test_a_block_ends_when_the_readers_are_idle():
    reader = multiprocessing.get_context("fork").Process(target=_work, args=(0.3,), daemon=True)
    began = time.perf_counter()
    reader.start()
    try:
        assert settled(CPU) - began >= 0.29
    finally:
        reader.terminate()
        reader.join()
    began = time.perf_counter()
    assert settled(CPU) - began < 0.05
