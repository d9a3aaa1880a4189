"""`benchmarks.table` at a tiny size: what it plans, how it chooses, that it goes on, what it prints. No GPU needed."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time

import pytest
import torch

from benchmarks import budget as budget_of
from benchmarks import table
from benchmarks.budget import PACE, Budget, Failed, OutOfTime, append, read
from benchmarks.split import make_split
from benchmarks.table_plan import ADAPTIVE, HEADS, KNN, ROWS, Size, best, cells, rows, search
from benchmarks.table_print import difference, render
from benchmarks.training_images import write_images
from training import checkpoint
from training.config import flatten
from training.pretrain import main

TINY = ["data.workers=0", "train.threads=1", "train.precision=fp32", "heads.hidden=16", "heads.dim=8"]
LEVELS = {1: 0.2, 3: 0.05}


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """A folder with train/ and test/, 48 and 16 images of four classes."""
    folder = tmp_path_factory.mktemp("cifar")
    for part, count in (("train", 48), ("test", 16)):
        (folder / part).mkdir()
        write_images(folder / part, count, 16)
    return folder


def command(cifar, out, *more):
    words = [
        "--data",
        str(cifar),
        "--device",
        "cpu",
        "--runs",
        str(out / "runs"),
        "--results",
        str(out / "table.jsonl"),
    ]
    words += ["--epochs", "1", "--search-epochs", "1", "--batch", "8", "--width", "4", "--stem", "small"]
    return [*words, "--temperatures", "0.1", "--commit", "abc", "--lanes", "2", *TINY, *more]


def test_the_rows_come_in_the_order_of_their_weight():
    assert [row.name for row in ROWS] == [
        *("simclr", "simclr-a", "simclr-abc", "simclr-abcde", "moco", "simsiam", "barlow_twins", "lgp", "can")
    ]
    assert ROWS[0].seeds >= 2
    first = cells(ROWS[0], Size(), LEVELS)
    assert [(job.seed, job.cell) for job in first] == [(seed, cell) for seed in (0, 1) for cell in "abcd"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_cells_of_a_row_differ_in_heads_temperature_and_seed_alone(row):
    levels = best(row, [], [], 0.1)
    jobs = cells(row, Size(), levels)
    flat = [flatten(job.config) for job in jobs]
    differing = {key for key in flat[0] if len({str(each[key]) for each in flat}) > 1}
    assert differing <= {"heads.num", "temperature.kind", "temperature.value", "train.seed"}
    for job, keys in zip(jobs, flat, strict=True):
        assert keys["heads.num"] == HEADS[job.cell]
        assert keys["temperature.kind"] == ("adaptive" if job.cell in ADAPTIVE else "constant")
        assert keys["train.epochs"] == 200
        assert keys["train.batch_size"] == 512
    assert len({job.folder for job in jobs}) == len(jobs)


def test_adaptive_cells_take_the_level_of_their_constant_neighbour_and_all_that_is_tried_on_them():
    jobs = {job.cell: job for job in cells(ROWS[0], Size(), LEVELS, ["temperature.eta=8"]) if job.seed == 0}
    value = {cell: job.config.temperature.value for cell, job in jobs.items()}
    assert value == {"a": 0.2, "b": 0.05, "c": 0.05, "d": 0.2}
    assert {cell: job.config.temperature.eta for cell, job in jobs.items()} == {"a": 4, "b": 4, "c": 8, "d": 8}


def test_the_search_gives_one_head_and_three_the_same_budget():
    jobs = search(ROWS[0], Size(), [0.05, 0.1])
    tried = {heads: [job.config for job in jobs if job.config.heads.num == heads] for heads in (1, 3)}
    assert [c.temperature.value for c in tried[1]] == [c.temperature.value for c in tried[3]] == [0.05, 0.1]
    assert {c.train.epochs for c in (*tried[1], *tried[3])} == {40}
    assert {c.temperature.kind for c in (*tried[1], *tried[3])} == {"constant"}
    assert search(ROWS[0], Size(), [0.1]) == []
    assert [row.name for row in ROWS if not search(row, Size(), [0.05, 0.1])] == [
        "simsiam",
        "barlow_twins",
        "lgp",
        "can",
    ]


def test_the_best_constant_is_that_of_the_search_and_unknown_until_it_is_complete():
    jobs = search(ROWS[0], Size(), [0.05, 0.1, 0.2])
    score = {(1, 0.05): 0.5, (1, 0.1): 0.7, (1, 0.2): 0.6, (3, 0.05): 0.8, (3, 0.1): 0.7, (3, 0.2): 0.8}
    lines = [job.line() | {KNN: score[job.config.heads.num, job.config.temperature.value]} for job in jobs]
    assert best(ROWS[0], jobs, lines, 0.1) == {1: 0.1, 3: 0.05}
    assert best(ROWS[0], jobs, lines[:-1], 0.1) is None
    other = search(ROWS[0], Size(search_epochs=7), [0.05, 0.1, 0.2])
    assert best(ROWS[0], other, lines, 0.1) is None  # another search's lines do not count


def test_rows_are_chosen_by_name_and_unknown_ones_named():
    assert [(row.name, row.seeds) for row in rows(["moco:3", "simclr"])] == [("moco", 3), ("simclr", 2)]
    with pytest.raises(ValueError, match=r"'mocco' is no row; they are simclr, "):
        rows(["mocco"])


def test_the_split_holds_out_a_tenth_of_each_class_of_the_training_images(cifar, tmp_path):
    split = tmp_path / "split"
    make_split(cifar / "train", split)
    make_split(cifar / "train", split)  # there already
    parts = {part: {path.resolve() for path in split.glob(f"{part}/*/*.jpg")} for part in ("train", "val")}
    assert parts["train"].isdisjoint(parts["val"])
    assert parts["train"] | parts["val"] == {path.resolve() for path in cifar.glob("train/*/*.jpg")}
    assert [len(list(folder.iterdir())) for folder in sorted((split / "val").iterdir())] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("words", "message"),
    [(["train.epoch=3"], "train.epoch"), (["--temperatures", "0.6,0.1"], "temperature.value=0.6 must lie inside")],
)
def test_what_could_not_run_is_said_before_anything_runs(cifar, tmp_path, capsys, words, message):
    assert table.main([*command(cifar, tmp_path), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_it_says_how_much_is_done(cifar, tmp_path):
    options = table._parser().parse_intermixed_args(command(cifar, tmp_path, "--temperatures", "0.05,0.2"))
    bench, chosen = table.Table(options), rows(["simclr:2", "can"])
    assert bench.progress(chosen) == "0 of 14 runs done"  # 4 of a search, 8 cells, and a pair
    for job in search(chosen[0], bench.size, bench.temperatures):
        append(options.results, job.line() | {KNN: 0.5})
    append(options.results, cells(chosen[0], bench.size, {1: 0.05, 3: 0.05})[5].line())
    assert bench.progress(chosen) == "5 of 14 runs done"


def figures(cell, seed, knn, **more):
    own = [f"heads.num={HEADS[cell]}", f"temperature.value={LEVELS[HEADS[cell]]}"]
    line = {"row": "simclr", "recipe": "simclr", "cell": cell, "seed": seed, "common": ["train.epochs=2"], "own": own}
    line |= {"variant": [], KNN: knn, "linear_probe": knn + 0.1, "queries": 10_000}
    return line | {"device": "cpu", "commit": "abc", "seconds": 60.0} | more


def test_the_table_has_a_line_for_each_row_and_variant():
    lines = [figures(cell, seed, 0.5 + 0.01 * at + 0.002 * seed) for at, cell in enumerate("abcd") for seed in (0, 1)]
    lines.append(figures("c", 0, 0.6, variant=["temperature.eta=8"]))
    lines.append(figures("a", 0, 0.4, row="moco"))
    lines.append(figures("a", 0, 0.9) | {"cell": "search"})
    text = render(lines)
    found = [line for line in text.splitlines() if line.startswith(("| simclr", "| moco"))]
    assert len(found) == 2 * 3
    assert found[0].startswith(
        "| simclr | 2 | 50.10 (0.2) | 51.10 (0.05) | 52.10 (0.05) | 53.10 (0.2) | +2.00 ± 0.00 / "
    )
    assert found[1].startswith(
        "| simclr temperature.eta=8 | 2 | 50.10 (0.2) | 51.10 (0.05) | 60.00 (0.05) |  | +10.00 / "
    )
    assert found[2] == "| moco | 1 | 40.00 (0.2) |  |  |  |  |  |"
    assert "- moco: simclr train.epochs=2; cpu; commit abc; 1 minutes of training" in text


def test_a_difference_has_the_standard_error_of_its_seeds_and_of_its_images():
    ours = {seed: figures("c", seed, knn) for seed, knn in ((0, 0.52), (1, 0.56), (2, 0.9))}
    other = {seed: figures("a", seed, knn) for seed, knn in ((0, 0.5), (1, 0.5))}
    # Differences 2 and 6: mean 4, deviation 2.83 over the root of 2; images: sqrt(2 · about 0.25 / 10,000).
    assert difference(ours, other, KNN) == "+4.00 ± 2.00 / 0.71"
    assert difference({}, other, KNN) == ""


def test_a_child_is_told_to_stop_in_time_and_a_failed_one_is_named(tmp_path):
    program = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\ntime.sleep(60)"
    (tmp_path / "sleeper.py").write_text(program)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        began = time.monotonic()
        with pytest.raises(OutOfTime):
            Budget(0.01).run("sleeper", log=tmp_path / "log")
        assert time.monotonic() - began < 30
        with pytest.raises(Failed, match=r"no_such_module ended with 1: .*No module named no_such_module"):
            Budget(1).run("no_such_module", log=tmp_path / "log")
        with Budget(5) as budget:
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
            with pytest.raises(OutOfTime):
                budget.run("sleeper", log=tmp_path / "log")
        with pytest.raises(OutOfTime):
            budget.run("sleeper", log=tmp_path / "never")
    assert not (tmp_path / "never").exists()


@pytest.mark.slow
def test_an_interrupted_run_goes_on_with_the_very_next_step(cifar, tmp_path, monkeypatch):
    """SIGTERM while a run trains, then the same again; against one that nothing interrupted."""
    monkeypatch.setattr(budget_of, "GRACE", 120.0)  # a busy machine is no failure
    options = table._parser().parse_intermixed_args(command(cifar, tmp_path, "--epochs", "10"))
    bench, job = table.Table(options), cells(ROWS[0], Size(10, 1, 8, 4, "small", extra=tuple(TINY)), LEVELS)[2]
    run, log = tmp_path / "runs" / job.folder, tmp_path / "runs" / f"{job.folder}.log"

    def stop_soon():
        while not log.exists() or "steps 0 to 60" not in log.read_text():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    watcher = threading.Thread(target=stop_soon, daemon=True)
    with Budget(4) as budget:
        watcher.start()
        assert not bench._one(budget, job)
    assert read(options.results) == []
    assert "stopped at step" in log.read_text()
    assert not bench._one(Budget(0), job)
    assert bench._one(Budget(4), job)
    (line,) = read(options.results)
    assert job.find([line]) is line
    assert (line["step"], line["queries"], line["commit"], line["device"]) == (60, 16, "abc", "cpu")
    whole = [*job.words, *PACE, f"--data=folder:{cifar}/train", "train.device=cpu", f"--out={tmp_path / 'whole'}"]
    assert main(whole) == 0
    weights, expected = (checkpoint.load(folder)["method"] for folder in (run, tmp_path / "whole"))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)


@pytest.mark.slow
def test_the_search_opens_no_test_image_and_what_is_done_is_not_repeated(cifar, tmp_path):
    shutil.copytree(cifar / "train", tmp_path / "cifar/train")
    options = table._parser().parse_intermixed_args(command(tmp_path / "cifar", tmp_path))
    bench, row = table.Table(options), ROWS[0]
    job = search(row, bench.size, [0.05, 0.2])[0]
    assert bench._all([job], Budget(4))  # there is no test/
    (line,) = read(options.results)
    assert (line["cell"], line["bank"], line["queries"]) == ("search", 44, 4)
    assert bench._all([job], Budget(0))
    assert len(read(options.results)) == 1
