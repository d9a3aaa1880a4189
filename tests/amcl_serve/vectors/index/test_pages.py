from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from amcl_serve.vectors.index.exact import ExactIndex
from amcl_serve.vectors.index.pages import LARGE, Memory, gather


def filled(count: int) -> tuple[ExactIndex, np.ndarray]:
    vectors = np.random.default_rng(0).standard_normal((count, 512), dtype=np.float32)
    index = ExactIndex(512, "Dot")
    index.add(np.arange(count), vectors)
    return index, vectors


def test_vectors_stay_what_they_are() -> None:
    index, vectors = filled(LARGE // 2048 + 100)
    held = []

    @contextmanager
    def searching() -> Iterator[Memory]:
        held.append(index.memory)
        yield index.memory

    gather(searching, index.memory)
    rows = index.rows
    assert (index.vectors(rows) == vectors).all()
    assert len(held) >= 1  # a system without large pages refuses the first step


def test_memory_that_was_moved_is_left_alone() -> None:
    index, vectors = filled(LARGE // 2048)
    moved = []

    @contextmanager
    def searching() -> Iterator[Memory]:
        moved.append(True)
        yield 0, 0

    gather(searching, index.memory)
    assert len(moved) <= 1
    assert (index.vectors(index.rows) == vectors).all()


def test_without_vectors_there_is_nothing_to_move() -> None:
    index = ExactIndex(512, "Dot")
    assert index.memory == (0, 0)
    index.add(np.arange(1), np.ones((1, 512), np.float32))
    assert index.memory[1] == 2048
