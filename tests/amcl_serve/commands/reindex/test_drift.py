"""What the report says of collections whose difference is known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import spearmanr

from amcl_serve.client import Client, Point
from amcl_serve.client.shapes import Distance
from amcl_serve.commands.reindexing import drift
from tests.amcl_serve.commands.index.server import Server

COUNT = 40


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client
        for name in ("before", "after"):
            client.delete_collection(name)


def vectors() -> npt.NDArray[np.float64]:
    return np.random.default_rng(0).normal(size=(COUNT, 8))


def write(client: Client, name: str, rows: npt.NDArray[np.float64], distance: Distance) -> None:
    client.create_collection(name, size=8, distance=distance)
    client.upsert(name, [Point(i, {"path": f"{i}.jpg"}, vector=row.tolist()) for i, row in enumerate(rows)])


@pytest.mark.parametrize("distance", ["Cosine", "Dot", "Euclid"])
def test_a_turned_space_has_not_drifted(client: Client, distance: Distance) -> None:
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))[0]
    write(client, "before", vectors(), distance)
    write(client, "after", vectors() @ turn, distance)
    found = drift.measure(client, "before", "after", range(COUNT), 25)
    assert (found["sample"], found["neighbour_overlap_at_10"]) == (25, 1.0)
    assert found["rank_correlation"] > 0.9999  # float32
    assert found == drift.measure(client, "before", "after", range(COUNT), 25)


def test_the_point_that_moved_has_changed_most(client: Client) -> None:
    moved = vectors()
    moved[7] = -moved[7]
    write(client, "before", vectors(), "Euclid")
    write(client, "after", moved, "Euclid")
    client.delete("after", [3])
    found = drift.measure(client, "before", "after", range(COUNT), COUNT)
    assert found["sample"] == COUNT - 1
    first = found["most_changed"][0]
    assert (first["id"], first["path"]) == (7, "7.jpg")
    assert first["overlap"] < 0.5 < found["neighbour_overlap_at_10"] < 1
    rows = [i for i in range(COUNT) if i != 3]
    pairs = np.triu_indices(COUNT - 1, 1)
    distances = [-np.linalg.norm(space[rows][:, None] - space[rows], axis=-1)[pairs] for space in (vectors(), moved)]
    assert found["rank_correlation"] == pytest.approx(spearmanr(*distances).statistic, abs=1e-3)
    assert "7.jpg: " in drift.text(found).splitlines()[4]


def test_nothing_to_compare(client: Client) -> None:
    write(client, "before", vectors()[:1], "Dot")
    write(client, "after", vectors()[:1], "Dot")
    for ids in ([], [0]):
        found = drift.measure(client, "before", "after", ids, 10)
        assert found["rank_correlation"] is None
        assert "nothing to compare" in drift.text(found)
