"""Files of pairs: what is read, and which line is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from amcl_serve.errors import InvalidRequest
from amcl_serve.evaluation.datasets import open_pairs, pairs_file


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("1.png", "2.png", "deep/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.csv", 'same,a,b\n1,1.png,"2.png"\n\n0, 1.png ,deep/3.png\n'),
        ("p.csv", "\ufeffa,b,same\r\n1.png,2.png,1\r\n1.png,deep/3.png,0\r\n"),
        ("p.jsonl", '{"a":"1.png","b":"2.png","same":1}\n\n{"a":"1.png","b":"deep/3.png","same":false}\n'),
    ],
)
def test_both_kinds_of_file(images: Path, name: str, text: str) -> None:
    (images / name).write_text(text, encoding="utf-8", newline="")
    found = open_pairs(images / name)
    assert list(found.names) == ["1.png", "2.png", "deep/3.png"]
    assert found.pairs is not None
    assert found.pairs.first.tolist() == [0, 0]
    assert found.pairs.second.tolist() == [1, 2]
    assert found.pairs.same.tolist() == [True, False]
    assert found.read(2) == b"x"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.csv", "", "line 1: the header is a,b,same"),
        ("p.csv", "x,y\n1.png,2.png\n", "line 1: the header is a,b,same, not 'x,y'"),
        ("p.csv", "a,b,same\n", "no pairs"),
        ("p.csv", "a,b,same\n1.png,2.png,1\n1.png,2.png,yes\n", "line 3: same is 0 or 1, not 'yes'"),
        ("p.csv", "a,b,same\n1.png,2.png\n", "line 2: 2 values"),
        ("p.csv", "a,b,same\n1.png,9.png,1\n", "line 2: there is no image '9.png'"),
        ("p.csv", 'a,b,same\n1.png,"2.png,1\n', "line"),
        ("p.jsonl", '{"a":"1.png","b":"2.png","same":1}\nnonsense\n', "line 2: no JSON object"),
        ("p.jsonl", '{"a":"1.png","b":"2.png"}\n', "line 1: a line is an object"),
        ("p.jsonl", '{"a":"1.png","b":"2.png","same":2}\n', "line 1: same is 0 or 1, not 2"),
        ("p.jsonl", '{"a":"1.png","b":"2.png","same":[]}\n', "line 1: same is 0 or 1"),
        ("p.jsonl", '{"a":3,"b":"2.png","same":1}\n', "line 1: a and b are paths"),
        ("p.txt", "", "come in a .csv file"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(images: Path, name: str, text: str, message: str) -> None:
    (images / name).write_text(text)
    with pytest.raises(InvalidRequest, match=message):
        open_pairs(images / name)


def test_bounds(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (images / "p.csv").write_text("a,b,same\n" + "1.png,2.png,1\n" * 3)
    monkeypatch.setattr(pairs_file, "MOST_PAIRS", 2)
    with pytest.raises(InvalidRequest, match="line 4: more than 2 pairs"):
        open_pairs(images / "p.csv")
    (images / "long.csv").write_text("a,b,same\n" + "x" * 70_000 + ",2.png,1\n")
    with pytest.raises(InvalidRequest, match="longer than"):
        open_pairs(images / "long.csv")
    (images / "bytes.csv").write_bytes(b"a,b,same\n\xff\xfe,2.png,1\n")
    with pytest.raises(InvalidRequest, match="UTF-8"):
        open_pairs(images / "bytes.csv")
    with pytest.raises(InvalidRequest, match="No such file"):
        open_pairs(images / "gone.csv")


def test_nothing_is_read_outside_of_a_root(images: Path) -> None:
    root = images / "deep"
    (root / "p.csv").write_text("a,b,same\n3.png,../1.png,1\n")
    with pytest.raises(InvalidRequest, match=r"line 2: .* leads out"):
        open_pairs(root / "p.csv", root=root)
    assert open_pairs(root / "p.csv").names == ["3.png", "../1.png"]
