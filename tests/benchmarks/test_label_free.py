"""The study of figures without labels at a tiny size: its correlations, its tables, and that it goes on."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from benchmarks.study import label_free
from benchmarks.study.budget import read
from benchmarks.study.label_free_plan import PLANS, Plan, make_images
from benchmarks.study.label_free_print import METRICS, render, spearman
from benchmarks.training.images import write_images
from training.config import override, recipes, validate

TINY = (
    "data.image_size=16",
    "train.batch_size=8",
    "heads.hidden=8",
    "heads.dim=4",
    "heads.num=1",
    "data.resident=auto",
)


def test_there_are_enough_networks_that_differ_and_all_can_begin():
    assert len({plan.words for plan in PLANS}) == len({plan.name for plan in PLANS}) == len(PLANS) >= 12
    for plan in PLANS:
        validate(override(recipes.recipe(plan.recipe), plan.words[1:]))


def test_spearman_is_scipys_and_its_interval_holds_it():
    rng = np.random.default_rng(0)
    x = rng.normal(size=14).round(1)  # with ties
    y = x + rng.normal(size=14)
    value, low, high = spearman(x, y, draws=2000)
    assert value == pytest.approx(spearmanr(x, y).statistic)
    assert -1 <= low < value < high <= 1
    assert spearman(x, x, draws=50) == pytest.approx((1, 1, 1))
    assert np.isnan(spearman(x[:2], y[:2])).all()


def line(name, knn, auroc, *, untrained=False, width=16):
    figures = dict.fromkeys(METRICS, 0.5) | {"pair_auroc_abcde": auroc, "alpha_req": 2 - knn}
    words = ["simclr", *(["augment.kinds=a"] if name == "net 0" else [])]
    return {"name": name, "knn_20": knn, "label_free": figures, "untrained": untrained, "width": width, "words": words}


def test_the_table_says_n_and_leaves_out_what_does_not_beat_its_untrained_backbone():
    lines = [line(f"net {n}", 0.3 + n / 100, 0.9 + n / 100) for n in range(5)]
    lines += [line("collapsed", 0.1, 0.5), line("floor", 0.25, 0.6, untrained=True)]
    text = render(lines)
    assert "all, n = 6 | better than untrained, n = 5 | of one augmentation, n = 5" in text
    assert "| pair_auroc_abcde | high | +1.00 (" in text
    assert "| alpha_req | near 1 | −1.00 (" in text
    assert text.index("| net 4 |") < text.index("| floor |") < text.index("| collapsed |")
    assert "| rankme | high | – | – | – |" in text  # one value for all has no rank


@pytest.mark.slow
def test_a_study_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    for part, count in (("train", 48), ("test", 64)):
        (tmp_path / part).mkdir()
        write_images(tmp_path / part, count, 16)
    plans = tuple(Plan(f"seed {seed}", "simclr", (*TINY, f"train.seed={seed}"), width=4, epochs=1) for seed in (0, 1))
    monkeypatch.setattr(label_free, "PLANS", plans)
    argv = ["--data", str(tmp_path), "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "r.jsonl"),
            "--count", "1", "--commit", "abc"]  # fmt: skip
    assert label_free.main(argv) == 3
    assert [each["name"] for each in read(tmp_path / "r.jsonl")] == ["untrained, 4 wide", "seed 0"]
    assert label_free.main(argv) == 0
    lines = read(tmp_path / "r.jsonl")
    assert [each["name"] for each in lines] == ["untrained, 4 wide", "seed 0", "seed 1"]
    assert {each["images"] for each in lines} == {each["queries"] for each in lines} == {32}
    before = (tmp_path / "r.jsonl").read_text()
    assert label_free.main(argv) == 0
    assert (tmp_path / "r.jsonl").read_text() == before
    assert "| seed 1 |" in capsys.readouterr().out


def test_images_that_judge_without_labels_are_apart_from_queries(tmp_path):
    for part, count in (("train", 16), ("test", 16)):
        (tmp_path / part).mkdir()
        write_images(tmp_path / part, count, 16)
    make_images(tmp_path, tmp_path / "out")
    files = {part: {path.resolve() for path in (tmp_path / "out" / part).rglob("*") if path.is_symlink()}
             for part in ("train", "test", "apart")}  # fmt: skip
    assert not files["test"] & files["apart"]
    assert files["test"] | files["apart"] == {path for path in (tmp_path / "test").rglob("*") if path.is_file()}
    assert not [path for path in (tmp_path / "out" / "apart").iterdir() if path.is_dir()]
