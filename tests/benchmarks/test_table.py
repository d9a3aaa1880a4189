"""The table at a tiny size: what it plans, how it chooses, that it goes on, what it prints. No GPU needed."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time

import pytest
import torch

from benchmarks.study import budget as budget_of
from benchmarks.study import table
from benchmarks.study.budget import PACE, Budget, Failed, OutOfTime, append, read
from benchmarks.study.split import make_split
from benchmarks.study.table_plan import FORMS, KNN, ROWS, Size, best, cells, rows, search
from benchmarks.study.table_print import difference, render
from benchmarks.training.images import write_images
from training.config import flatten, recipes
from training.pretrain import main
from training.run import checkpoint

TINY = ["data.workers=0", "train.threads=1", "train.precision=fp32", "heads.hidden=16", "heads.dim=8"]
LEVELS = {"one": 0.2, "wide": 0.2, "separate": 0.05, "joint": 0.1}


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
        *("simclr", "moco", "simclr-a", "simclr-abc", "simclr-abcde", "simsiam", "barlow_twins", "lgp", "can")
    ]
    assert ROWS[0].seeds >= 3
    first = cells(ROWS[0], Size(), LEVELS)
    assert [(job.seed, job.form) for job in first] == [(seed, form) for seed in (0, 1, 2) for form in FORMS]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_forms_of_a_row_differ_in_heads_temperature_and_seed_alone(row):
    jobs = cells(row, Size(), best(row, [0.1], Size(), []))
    flat = [flatten(job.config) for job in jobs]
    differing = {key for key in flat[0] if len({str(each[key]) for each in flat}) > 1}
    assert differing <= {
        *("heads.num", "heads.dim", "heads.hidden", "loss.heads", "train.seed"),
        *(f"temperature.{key}" for key in ("kind", "of", "value", "low", "high")),
    }
    for job, keys in zip(jobs, flat, strict=True):
        form = FORMS[job.form]
        assert keys["heads.num"] == form.heads
        assert keys.get("loss.heads", "separate") == ("joint" if form.joint else "separate")
        assert keys["temperature.kind"] == ("adaptive" if form.of else "constant")
        assert keys["train.epochs"] == 12
        assert keys["train.batch_size"] == 256
        base = recipes.recipe(row.recipe).temperature if row.levels is None else None
        value = base.value if base else 0.1
        assert keys["temperature.value"] == pytest.approx(value * (form.heads if form.joint else 1))
        if form.of and (base is None or form.joint):
            assert keys["temperature.low"] == pytest.approx(0.3 * keys["temperature.value"])
            assert keys["temperature.high"] == pytest.approx(5 * keys["temperature.value"])
        elif base:
            assert (keys["temperature.low"], keys["temperature.high"]) == (base.low, base.high)
    assert len({job.folder for job in jobs}) == len(jobs)


def test_adaptive_forms_take_the_level_of_their_family_and_all_that_is_tried_on_them():
    jobs = {job.form: job for job in cells(ROWS[0], Size(), LEVELS, ["temperature.eta=8"]) if job.seed == 0}
    value = {form: job.config.temperature.value for form, job in jobs.items()}
    assert value == pytest.approx(
        {"one": 0.2, "wide": 0.2, "separate": 0.05, "separate-adaptive": 0.05, "joint": 0.3, "joint-adaptive": 0.3}
        | {"joint-views": 0.3, "joint-similarity": 0.3, "five": 0.5, "five-adaptive": 0.5}
    )
    assert {form: job.config.temperature.eta for form, job in jobs.items()} == {
        form: 8 if FORMS[form].of else 4 for form in FORMS
    }


def test_the_search_gives_every_family_the_same_budget():
    jobs = search(ROWS[0], Size(), [0.05, 0.1])
    assert {(job.form, job.config.temperature.value) for job in jobs} == {
        *((form, level) for form in ("one", "wide", "separate") for level in (0.05, 0.1)),
        *(("joint", level) for level in (0.15, 0.3)),
    }
    assert {job.config.train.epochs for job in jobs} == {6}
    assert {job.config.temperature.kind for job in jobs} == {"constant"}
    assert search(ROWS[0], Size(), [0.1]) == []
    (kinds,) = rows(["simclr-abc"])
    assert {job.words for job in search(kinds, Size(), [0.05, 0.1])} < {job.words for job in jobs}  # the same runs
    assert [row.name for row in ROWS if not search(row, Size(), [0.05, 0.1])] == [
        *("simsiam", "barlow_twins", "lgp", "can")
    ]


def test_the_best_level_is_that_of_the_search_and_unknown_until_it_is_complete():
    tried = [0.05, 0.1, 0.2]
    (row,) = rows(["simclr"], ["one", "joint-adaptive"])
    jobs = search(row, Size(), tried)
    score = {("one", 0.05): 0.5, ("one", 0.1): 0.7, ("one", 0.2): 0.6}
    score |= {("joint", 0.15): 0.8, ("joint", 0.3): 0.7, ("joint", 0.6): 0.8}
    lines = [job.line() | {KNN: score[job.form, job.config.temperature.value]} for job in jobs]
    assert best(row, tried, Size(), lines) == {"one": 0.1, "joint": 0.05}
    assert best(row, tried, Size(), lines[:-1]) is None
    assert best(row, tried, Size(search_epochs=7), lines) is None  # another search's lines do not count


def test_rows_are_chosen_by_name_and_unknown_ones_named():
    assert [(row.name, row.seeds) for row in rows(["moco:3", "simclr"])] == [("moco", 3), ("simclr", 3)]
    assert rows(["moco"], ["one"])[0].forms == ("one",)
    with pytest.raises(ValueError, match=r"'mocco' is no row; they are simclr, "):
        rows(["mocco"])
    with pytest.raises(ValueError, match=r"'two' is no form; they are one, "):
        rows(["moco"], ["two"])


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
    [
        (["train.epoch=3"], "train.epoch"),
        (["--rows", "simsiam", "--forms", "joint"], "loss.heads is a key of simclr, moco, lgp, can, not of simsiam"),
    ],
)
def test_what_could_not_run_is_said_before_anything_runs(cifar, tmp_path, capsys, words, message):
    assert table.main([*command(cifar, tmp_path), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_it_says_how_much_is_done(cifar, tmp_path):
    options = table._parser().parse_intermixed_args(command(cifar, tmp_path, "--temperatures", "0.05,0.2"))
    bench, chosen = table.Table(options), rows(["simclr:2", "simclr-a:1", "can"], ["one", "joint"])
    assert bench.progress(chosen) == "0 of 12 runs done"  # 4 of a search that two rows share, 4 + 2 + 2
    for job in search(chosen[0], bench.size, bench.levels):
        append(options.results, job.line() | {KNN: 0.5})
    append(options.results, cells(chosen[0], bench.size, {"one": 0.05, "joint": 0.05})[3].line())
    assert bench.progress(chosen) == "5 of 12 runs done"


def figures(form, seed, knn, **more):
    own = [f"heads.num={FORMS[form].heads}", f"temperature.value={LEVELS[FORMS[form].family]}"]
    common = ["train.batch_size=256", "train.epochs=2"]
    line = {"row": "simclr", "recipe": "simclr", "form": form, "search": False, "seed": seed, "common": common}
    line |= {"own": own, "variant": [], KNN: knn, "linear_probe": knn + 0.1, "queries": 10_000}
    line |= {"pair_auroc": 0.97, "tau_positive": 0.2, "tau_negative": 0.3}
    if FORMS[form].heads > 1:
        line |= {"head_correlation_positives": 0.7, "head_correlation_negatives": 0.5, "pair_aurc_margin": 0.02}
    journal = {"journal": {"images_per_second": 1280.0}}
    return line | journal | {"device": "cpu", "commit": "abc", "seconds": 60.0} | more


def test_the_table_has_a_line_for_each_form_and_variant():
    forms = ("joint-adaptive", "one", "joint")
    lines = [figures(form, seed, 0.5 + 0.01 * at + 0.002 * seed) for at, form in enumerate(forms) for seed in (0, 1)]
    lines.append(figures("joint-adaptive", 0, 0.6, variant=["temperature.eta=8"]))
    lines.append(figures("one", 0, 0.4, row="moco"))
    lines.append(figures("one", 0, 0.9) | {"search": True})
    text = render(lines)
    found = [line for line in text.splitlines() if line.startswith("| C = ")]
    assert [line.split("|")[1].strip() for line in found] == [
        "C = 1 (0.2)",
        "C = 3, joint (0.1)",
        "C = 3, joint, adaptive (0.1)",
        "C = 3, joint, adaptive (0.1) temperature.eta=8",
        "C = 1 (0.2)",
    ]
    cells_of = [[cell.strip() for cell in line.split("|")[2:-1]] for line in found]
    assert cells_of[0] == [
        *("2", "51.10 ± 0.10", "61.10 ± 0.10", "0.9700 ± 0.0000", "", "", "", ""),
        *("0.200 ± 0.000", "0.300 ± 0.000", "", "200"),
    ]
    assert cells_of[1][4:7] == ["0.70 ± 0.00", "0.50 ± 0.00", "20.0 ± 0.0"]
    assert cells_of[1][-2].startswith("+1.00 ± 0.00 / ")
    assert cells_of[3][:2] == ["1", "60.00"]
    assert "simclr train.batch_size=256 train.epochs=2; cpu; commit abc; 7 minutes of training" in text
    assert "simclr one 0.2: 90.00" in text


def test_a_difference_has_the_standard_error_of_its_seeds_and_of_its_images():
    ours = {seed: figures("joint", seed, knn) for seed, knn in ((0, 0.52), (1, 0.56), (2, 0.9))}
    other = {seed: figures("one", seed, knn) for seed, knn in ((0, 0.5), (1, 0.5))}
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
    bench, job = table.Table(options), cells(ROWS[0], Size(10, 1, 8, 4, "small", extra=tuple(TINY)), LEVELS)[5]
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
    bench = table.Table(options)
    job = search(ROWS[0], bench.size, [0.05, 0.2])[0]
    assert bench._all([job], Budget(4))  # there is no test/
    (line,) = read(options.results)
    assert (line["search"], line["bank"], line["queries"]) == (True, 44, 4)
    assert bench._all([job], Budget(0))
    assert len(read(options.results)) == 1
