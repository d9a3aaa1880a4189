from __future__ import annotations

import hmac
from pathlib import Path
from typing import Any

import pytest

from amcl_serve.errors import StartupError
from amcl_serve.http.guards import keys as module
from amcl_serve.http.guards.keys import Access, Keys, parse_keys, read_key_file
from amcl_serve.settings import Settings


def test_a_key_allows_what_it_was_given_for() -> None:
    keys = Keys(["all-1", "all-2"], ["look"])
    assert [keys.access(key) for key in (b"all-1", b"all-2", b"look")] == [Access.WRITE, Access.WRITE, Access.READ]
    for wrong in (b"", b"all", b"all-11", b"LOOK", "löok".encode()):
        assert keys.access(wrong) is None
    assert keys
    assert not Keys()


def test_every_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, two: bytes) -> bool:
        compared.append((len(one), len(two)))
        return hmac.compare_digest(one, two)

    monkeypatch.setattr(module, "hmac", type("hmac", (), {"compare_digest": staticmethod(compare)}))
    keys = Keys(["a", "a-longer-one"], ["another"])
    for key in (b"a", b"nothing of the kind"):
        keys.access(key)
    assert compared == [(32, 32)] * 6


def test_keys_come_from_the_environment_and_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("one\n\ntwo\r\n")
    monkeypatch.setenv("AMCL_API_KEY", "three, four")
    monkeypatch.setenv("AMCL_READ_ONLY_API_KEY", "five")
    settings = Settings(api_key_file=tmp_path / "keys")
    keys = Keys.load(settings)
    assert all(keys.access(key) is Access.WRITE for key in (b"one", b"two", b"three", b"four"))
    assert keys.access(b"five") is Access.READ
    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(vars(keys))):
        assert "three" not in shown
        assert "five" not in shown


@pytest.mark.parametrize("text", ["", " ", ",", "\n"])
def test_a_variable_that_holds_no_key_stops_the_start(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMCL_API_KEY", text)
    with pytest.raises(StartupError, match="AMCL_API_KEY is set and holds no key"):
        Keys.load(Settings())


@pytest.mark.parametrize("text", ["good,with space", "schlüssel", "tab\tbed"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(StartupError, match="printable ASCII") as refused:
        parse_keys(text, "here")
    assert not any(part in refused.value.detail for part in ("good", "with space", "schl", "bed"))


def test_a_key_of_both_kinds_is_refused() -> None:
    with pytest.raises(StartupError, match="both read-write and read-only") as refused:
        Keys(["twice"], ["twice"])
    assert "twice" not in refused.value.detail


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "empty").touch()
    cases: list[tuple[Any, str]] = [("missing", "No such file"), ("binary", "is no text"), ("empty", "holds no key")]
    for name, said in cases:
        with pytest.raises(StartupError, match=said):
            read_key_file(tmp_path / name)
