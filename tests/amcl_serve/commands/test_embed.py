"""`amcl-serve embed --out`: killed, interrupted, torn and resumed, it writes what an undisturbed run writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from amcl_serve.cli import main
from amcl_serve.commands.bulk.unfinished import Unfinished
from amcl_serve.errors import StartupError
from tests.amcl_serve.commands.embedding import BATCH, command, make_folder, recorded, results
from tests.fakes import HEAD_DIM, C, D
from tests.images import photo


@pytest.fixture
def begun(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """OUT of a run over 40 files that was stopped after three batches; `quiet/v.npy` beside it is undisturbed."""
    folder = make_folder(tmp_path / "images", 40)
    quiet = tmp_path / "quiet" / "v.npy"
    quiet.parent.mkdir()
    assert main(command(tiny_bundle, folder, quiet)) == 1
    record = Unfinished.record

    def three(run: Unfinished, items: object) -> None:
        if run.done == 3 * BATCH:
            raise KeyboardInterrupt
        record(run, items)  # type: ignore[arg-type]

    out = tmp_path / "out" / "v.npy"
    out.parent.mkdir()
    monkeypatch.setattr(Unfinished, "record", three)
    assert main(command(tiny_bundle, folder, out)) == 130
    monkeypatch.setattr(Unfinished, "record", record)
    assert recorded(out) == 3 * BATCH
    return out


def resume(bundle: Path, out: Path, *flags: str) -> int:
    return main([*command(bundle, out.parent.parent / "images", out), *flags])


@pytest.mark.parametrize("torn", ["journal", "rows", "zeros", "flipped", "line", "no rows"])
def test_a_torn_tail_is_cut_off(begun: Path, tiny_bundle: Path, torn: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = begun.with_name("v.npy.partial")
    journal, rows = folder / "journal", folder / "rows"
    before = {"journal": 16, "rows": 16, "zeros": 24, "flipped": 8, "line": 24, "no rows": 0}[torn]
    if torn == "journal":
        journal.write_bytes(journal.read_bytes()[:-5])
    elif torn == "rows":
        rows.write_bytes(rows.read_bytes()[:-5])
    elif torn == "zeros":
        journal.write_bytes(journal.read_bytes() + b"\0" * 100)
        rows.write_bytes(rows.read_bytes() + b"\0" * 1000)
    elif torn == "flipped":
        data = bytearray(rows.read_bytes())
        data[128 + 4 * D * (BATCH + 2)] ^= 1
        rows.write_bytes(data)
    elif torn == "line":
        journal.write_bytes(journal.read_bytes() + b'{"rows": 8, "crc32": 0, "skipped": []}\n')
    else:
        rows.unlink()
    capsys.readouterr()
    assert resume(tiny_bundle, begun) == 1
    said = capsys.readouterr().err
    assert (f"going on after {before} of 40 images" in said) == (before > 0)
    assert results(begun) == results(begun.parent.parent / "quiet" / "v.npy")


@pytest.mark.parametrize("stage", ["replaced", "renamed"])
def test_killed_at_the_very_end(
    begun: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    with monkeypatch.context() as patched:
        if stage == "replaced":
            patched.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        else:
            patched.setattr(shutil, "rmtree", lambda path, ignore_errors=False: ignore_errors or 1 / 0)
        if stage == "replaced":
            assert resume(tiny_bundle, begun) == 130
        else:
            with pytest.raises(ZeroDivisionError):
                resume(tiny_bundle, begun)
    assert begun.exists()
    capsys.readouterr()
    if stage == "replaced":  # nothing is left to be done
        assert resume(tiny_bundle, begun) == 1
        assert "going on after 40 of 40 images" in capsys.readouterr().err
    else:
        assert resume(tiny_bundle, begun) == 1  # the whole run anew, over the litter of the last
    assert results(begun) == results(begun.parent.parent / "quiet" / "v.npy")


@pytest.mark.parametrize("change", ["new", "gone", "changed", "flag", "locked"])
def test_another_run_is_not_gone_on_with(
    begun: Path, tiny_bundle: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = sorted((begun.parent.parent / "images").rglob("*.png"))[20]
    flags = []
    if change == "new":
        (file.parent / "zzz.png").write_bytes(photo(0))
    elif change == "gone":
        file.unlink()
    elif change == "changed":
        os.utime(file, ns=(1, 1))
    elif change == "flag":
        flags = ["--normalize"]
    capsys.readouterr()
    if change == "locked":
        folder = begun.parent.parent / "images"
        run = Unfinished(begun, {}, lambda: sorted(folder.rglob("*.png")), shape=(D,), batch=BATCH)
        assert resume(tiny_bundle, begun) == 1
        assert "is being written by another run" in capsys.readouterr().err
        run.close()
        with pytest.raises(StartupError, match="was begun with batch"):
            Unfinished(begun, {"batch": 9}, list, shape=(D,), batch=9)
        return
    assert resume(tiny_bundle, begun, *flags) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "--restart" in line
    assert ("normalize False, not True" if change == "flag" else file.parent.name) in line
    assert resume(tiny_bundle, begun, "--restart", *flags) == 1
    said = capsys.readouterr().err
    assert "going on" not in said
    assert not begun.with_name("v.npy.partial").exists()
    assert len(np.load(begun)) == {"new": 40, "gone": 38}.get(change, 39)


def test_a_full_disk(begun: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    code = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from amcl_serve.cli import main
sys.exit(main())
"""
    images = tmp_path / "images"
    for out, said in ((begun, "run the same command again to go on"), (tmp_path / "w.npy", "w.npy cannot be written")):
        argv = [sys.executable, "-c", code, *command(tiny_bundle, images, out)]
        done = subprocess.run(argv, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        last = done.stderr.splitlines()[-1]
        assert "cannot be written: File too large" in last
        assert said in last
        assert not out.exists()
    assert begun.with_name("v.npy.partial").joinpath("rows").stat().st_size == 1000  # of a batch, the first rows
    assert resume(tiny_bundle, begun) == 1
    assert results(begun) == results(tmp_path / "quiet" / "v.npy")


def test_the_summary_counts_both_runs(begun: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert resume(tiny_bundle, begun) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"{begun}: 39 vectors (15 embedded, 1 skipped as broken, 24 done before, of 40 images" in last
    assert "v.skipped.jsonl" in last


@pytest.mark.parametrize("outputs", ["features", "heads"])
def test_parquet(tiny_bundle: Path, tmp_path: Path, outputs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "images", 30)
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(photo(3))
    monkeypatch.setattr("amcl_serve.commands.embed.ROW_GROUP", 7)
    paths = [tmp_path / "v.npy", tmp_path / "v.parquet"]
    for path in paths:
        assert main([*command(tiny_bundle, folder, path), "--outputs", outputs]) == 1
    table = pq.read_table(paths[1])
    vectors = np.array(table["embedding"].to_pylist(), np.float32)
    assert np.array_equal(vectors, np.load(paths[0]))
    assert vectors.shape == ((30, D) if outputs == "features" else (30, C, HEAD_DIM))
    names = [json.loads(line)["file"] for line in (tmp_path / "v.names.jsonl").read_text().splitlines()]
    assert {Path(name) for name in names} <= set(folder.rglob("*.png"))
    assert table["name"].to_pylist() == [os.fsencode(name).decode("utf-8", "replace") for name in names]
    assert str(table.schema.field("embedding").type).startswith("fixed_size_list<")
    assert table.schema.metadata[b"model"] == b"tiny"
    assert not list(tmp_path.glob("*.partial"))


def test_without_pyarrow(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("amcl_serve.commands.bulk.parquet.find_spec", lambda _: None)
    assert main(command(tiny_bundle, tmp_path, tmp_path / "v.parquet")) == 1
    assert "pip install 'amcl-serve[parquet]'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as usage:
        main(command(tiny_bundle, tmp_path, tmp_path / "v.csv"))
    assert usage.value.code == 2


def test_files_and_folders_together_without_a_failure(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder(tmp_path / "images", 5)
    single = tmp_path / "picture.of-no-known-ending"
    single.write_bytes(photo(1))
    out = tmp_path / "v.npy"
    (tmp_path / "v.skipped.jsonl").write_text("of an earlier run\n")
    argv = command(tiny_bundle, folder, out)
    assert main([argv[0], str(single), *argv[1:]]) == 0
    assert len(np.load(out)) == 6
    first = json.loads((tmp_path / "v.names.jsonl").read_text().splitlines()[0])
    assert first == {"file": str(single)}
    assert not (tmp_path / "v.skipped.jsonl").exists()
    capsys.readouterr()
    assert main(["embed", str(folder), "--model", str(tiny_bundle)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    (tmp_path / "empty").mkdir()
    assert main(command(tiny_bundle, tmp_path / "empty", tmp_path / "w.npy")) == 1
    assert "holds no images" in capsys.readouterr().err
    assert not (tmp_path / "w.npy.partial").exists()


def test_nothing_could_be_embedded(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"text")
    assert main(command(tiny_bundle, tmp_path, tmp_path / "v.npy")) == 1
    assert np.load(tmp_path / "v.npy").shape == (0, D)
    missing = command(tiny_bundle, tmp_path / "missing.png", tmp_path / "w.parquet")
    assert main(missing) == 1
    assert pq.read_table(tmp_path / "w.parquet").num_rows == 0
    (line,) = (tmp_path / "w.skipped.jsonl").read_text().splitlines()
    assert json.loads(line)["code"] == "unreadable_file"
