"""`amcl-serve duplicates`, `outliers` and `sample` against a real server, as they are called."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from amcl_serve.cli import main
from tests.amcl_serve.commands.index.server import Server, index, small


def test_a_folder_with_copies(server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = small(tmp_path / "one", "a.jpg", "b.jpg", "c.jpg", "d\x1b[2J.jpg")
    shutil.copy(folder / "b.jpg", folder / "copy.jpg")
    other = small(tmp_path / "two", "x.jpg")
    shutil.copy(folder / "c.jpg", other / "leaked.jpg")
    assert index(server, folder, "pictures") == 0
    assert index(server, other, "held-out") == 0
    capfd.readouterr()

    def run(*argv: str) -> tuple[list[str], str]:
        assert main([*argv, "--url", server.url]) == 0
        out, err = capfd.readouterr()
        return out.splitlines(), err

    out, err = run("duplicates", "pictures", "--exact")
    assert sorted(line.split()[-1] for line in out) == ["b.jpg", "copy.jpg"]
    assert "1 groups; 1 of 5 points repeat another" in err
    out, _ = run("duplicates", "pictures", "--cosine", "1")
    assert sorted(line.split() for line in out) == [["1.0000", "b.jpg"], ["1.0000", "copy.jpg"]]
    out, _ = run("duplicates", "pictures", "--cosine", "1", "--json")
    assert json.loads("\n".join(out))["duplicates"] == 1
    out, err = run("duplicates", "held-out", "--exact", "--against", "pictures")
    assert "2 of 2 points are among the 5 of pictures" in err
    assert [line.split() for line in out] == [["leaked.jpg"], ["c.jpg"], [], ["x.jpg"], ["a.jpg"]]
    out, _ = run("outliers", "pictures", "--limit", "2", "--neighbours", "1")
    assert len(out) == 2
    out, err = run("sample", "pictures", "--limit", "5")
    assert len(out) == 5
    assert not any("\x1b" in line for line in out)
    assert "every other is within 0.0000" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("duplicates", "nope", "--exact"), "no collection 'nope'"),
        (("duplicates", "nope", "--cosine", "2"), "cosine"),
        (("outliers", "nope"), "no collection 'nope'"),
        (("sample", "nope", "--limit", "0"), "limit"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    server: Server, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    assert main([*arguments, "--url", server.url]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert says in line


def test_a_cut_has_to_be_given(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["duplicates", "photos"])
    assert "one of the arguments --cosine --probability --exact is required" in capfd.readouterr().err
