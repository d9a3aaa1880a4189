from __future__ import annotations

from collections.abc import Iterator

import pytest

from amcl_serve import errors
from amcl_serve.errors import AmclError


def tree(root: type[AmclError] = AmclError) -> Iterator[type[AmclError]]:
    for child in root.__subclasses__():
        yield child
        yield from tree(child)


CLASSES = list(tree())


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_is_drawn_in_the_tree_with_its_status_and_code(error: type[AmclError]) -> None:
    (line,) = [line for line in (errors.__doc__ or "").splitlines() if f" {error.__name__} " in line]
    assert line.split(f" {error.__name__} ")[1].split()[:2] == [str(error.status), error.code]
    assert ("Retry-After" in line) == (error.retry_after is not None)


def test_codes_are_unique() -> None:
    assert len(CLASSES) > 20
    assert len({error.code for error in [AmclError, *CLASSES]}) == len(CLASSES) + 1


def test_detail_is_the_message() -> None:
    error = errors.PointNotFound("no point 7")
    assert (error.detail, str(error)) == ("no point 7", "no point 7")
