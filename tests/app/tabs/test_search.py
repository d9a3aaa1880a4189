from __future__ import annotations

import pytest

from app.tabs.search import LIMIT, MAX_TASTES, MOST, Wish


def test_a_point_is_liked_or_disliked_and_never_both() -> None:
    wish = Wish(collection="c").after("more", "7").after("less", "9").after("less", "7")
    assert (wish.more, wish.less) == ((), (9, 7))
    assert wish.after("forget", "9").less == (7,)
    assert wish.after("clear", "") == Wish(collection="c")


def test_an_answer_grows_to_an_end_and_a_new_taste_begins_anew() -> None:
    wish = Wish()
    for _ in range(20):
        wish = wish.after("longer", "")
    assert wish.limit == MOST
    assert wish.after("more", "1").limit == LIMIT
    for index in range(2 * MAX_TASTES):
        wish = wish.after("more", str(index))
    assert len(wish.more) == MAX_TASTES


def test_what_the_browser_keeps_is_read_again() -> None:
    wish = Wish((1, "0c9e1c6e-0000-4000-8000-000000000000"), (18446744073709551615,), 48, "c")
    assert Wish.read(wish.text()) == wish


@pytest.mark.parametrize(
    "text", [None, "", "x", "[]", "{}", 5, '{"more": 3, "less": [], "limit": 1, "collection": ""}']
)
def test_what_is_no_wish_is_an_empty_one(text: object) -> None:
    assert Wish.read(text) == Wish()
