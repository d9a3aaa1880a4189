from __future__ import annotations

import signal

import pytest

from amcl_serve.commands.bulk.interrupts import held_back


def test_the_first_is_raised_when_asked_for_and_the_second_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    reached = []

    def interrupted() -> None:
        with held_back() as check:
            check()
            signal.raise_signal(signal.SIGINT)
            reached.append("beyond the first")
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            check()

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert reached == ["beyond the first"]
    assert signal.getsignal(signal.SIGINT) is before


def test_nothing_is_raised_without_it() -> None:
    before = signal.getsignal(signal.SIGINT)
    with held_back() as check:
        check()
    assert signal.getsignal(signal.SIGINT) is before
