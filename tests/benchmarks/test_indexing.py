"""Indexing against embedding: the figures of a small folder, and of one in a tar file."""

from __future__ import annotations

import math
import tarfile

import pytest

from benchmarks.retrieval import indexing
from tests.images import photo


@pytest.mark.slow
def test_a_folder_and_a_tar_file_give_rates_and_their_ratio(tmp_path, capsys):
    folder = tmp_path / "images"
    (folder / "a").mkdir(parents=True)
    for seed in range(40):
        (folder / "a" / f"{seed}.jpg").write_bytes(photo(seed))
    with tarfile.open(tmp_path / "images.tar.xz", "w:xz") as tar:
        tar.add(folder, "train")
    for data in (folder, tmp_path / "images.tar.xz"):
        assert indexing.main(["--data", str(data), "--images", "20"]) == 0
        found = dict(line.split(" = ") for line in capsys.readouterr().out.splitlines())
        rates = [float(found[name].removesuffix(" images/s")) for name in ("embed", "index")]
        assert math.isfinite(float(found["index_cpu_ms"]))  # most of it is the start of so few images, and scatters
        assert float(found["index_over_embed"]) == pytest.approx(rates[1] / rates[0], rel=1e-2)
