from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.fakes import D
from tests.images import photo, truncated

# Each file that is read is noted in another, so that what a resumed run does again is seen. A run that is to be killed
# waits for that with its last file, however fast the machine is.
LOGGING = """
import itertools, os, sys, time
from pathlib import Path
from amcl_serve.cli import main
log = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
last = int(sys.argv.pop(1))
number = itertools.count(1)
read = Path.read_bytes
def logged(path):
    if path.suffix == ".png":
        os.write(log, (path.name + "\\n").encode())
        time.sleep(60 if next(number) == last else 0.0005)
    return read(path)
Path.read_bytes = logged
sys.exit(main())
"""


BATCH = 8


def make_folder(folder: Path, count: int, *, broken: int = 97) -> Path:
    """`count` files in sub-folders; every one whose number leaves 13 after division by `broken` is broken."""
    few = [photo(seed, (12, 10), "PNG") for seed in range(50)]
    for i in range(count):
        path = folder / f"class {i % 7}" / f"{i:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        # Behind the end of a PNG bytes may follow: no two files are the same.
        path.write_bytes(few[i % 50] if i % broken != 13 else truncated("PNG"))
    return folder


def command(bundle: Path, folder: Path, out: Path) -> list[str]:
    threads = ["--session-threads", "1", "--decode-threads", "2", "--max-batch", str(BATCH)]
    return ["embed", str(folder), "--out", str(out), "--model", str(bundle), *threads]


def results(out: Path) -> dict[str, bytes]:
    """The bytes of everything that a run has left, by name without the first part."""
    return {path.name.removeprefix(out.stem): path.read_bytes() for path in out.parent.glob(f"{out.stem}.*")}


def recorded(out: Path) -> int:
    """Files in the whole lines of an unfinished run's journal, each a full batch but for the last."""
    journal = out.with_name(out.name + ".partial") / "journal"
    return BATCH * journal.read_bytes().count(b"\n") if journal.exists() else 0


def check(out: Path, folder: Path) -> None:
    """Rows, names and skipped files are those of the folder."""
    names = [json.loads(line)["file"] for line in (out.parent / "v.names.jsonl").read_text().splitlines()]
    skipped = [json.loads(line) for line in (out.parent / "v.skipped.jsonl").read_text().splitlines()]
    paths = sorted(str(path) for path in folder.rglob("*.png"))
    broken = [path for path in paths if int(Path(path).stem) % 97 == 13]
    assert names == [path for path in paths if path not in set(broken)]
    assert [item["file"] for item in skipped] == broken
    assert {item["code"] for item in skipped} == {"undecodable_image"}
    rows = np.load(out)
    assert (rows.shape, rows.dtype) == ((len(names), D), np.float32)
    # The same picture has the same row wherever it is.
    kinds = np.array([int(Path(name).stem) % 50 for name in names])
    for kind in range(50):
        assert np.allclose(rows[kinds == kind], rows[kinds == kind][:1], atol=1e-5)
    assert np.ptp(rows[:50], axis=0).min() > 0
