from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from app.latest import Latest


def visitor(name: str) -> Any:
    return SimpleNamespace(session_hash=name)


def test_a_later_question_makes_an_earlier_answer_old() -> None:
    latest = Latest()
    first, other = latest.begin(visitor("a")), latest.begin(visitor("b"))
    assert first()
    second = latest.begin(visitor("a"))
    assert not first()
    assert second()
    assert other()


def test_visitors_are_forgotten_and_their_answers_still_shown() -> None:
    latest = Latest()
    first = latest.begin(visitor("0"))
    for number in range(1, 5000):
        latest.begin(visitor(str(number)))
    assert first()
    assert len(latest._last) <= 4096
