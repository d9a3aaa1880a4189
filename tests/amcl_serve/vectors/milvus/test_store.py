"""What Milvus makes different: pages, names, limits, and that it may be gone."""

from __future__ import annotations

import logging
from time import monotonic, sleep

import numpy as np
import pytest

from amcl_serve.errors import (
    CollectionNotFound,
    DeadlineExceeded,
    InvalidRequest,
    NotReady,
    StorageError,
)
from amcl_serve.settings import Settings
from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.opening import open_store
from amcl_serve.vectors.types import Chosen, CreateAlias, Point, Query
from tests.amcl_serve.commands.ports import free_port
from tests.milvus import Lite


@pytest.fixture(scope="module")
def lite(tmp_path_factory):
    lite = Lite(tmp_path_factory.mktemp("milvus"))
    yield lite
    lite.stop()


@pytest.fixture(scope="module")
def store(lite):
    store = open_store(Settings(vectors=f"milvus://{lite.start()}"))
    yield store
    store.close()


@pytest.fixture
def photos(store):
    store.create("photos", 2, "Dot")
    yield store
    store.drop("photos")


@pytest.fixture
def small_pages(monkeypatch):
    monkeypatch.setattr("amcl_serve.vectors.milvus.connection.MAX_FOUND", 7)


def test_many_pages_are_one_answer(photos, small_pages):
    points = [Point(i, [i % 10, 1], {"n": i, "odd": "yes" if i % 2 else "no"}) for i in range(50)]
    photos.upsert("photos", points)
    odd, large = {"must": {"key": "odd", "match": {"value": "yes"}}}, {"must": {"key": "n", "range": {"gte": 25}}}
    assert photos.count("photos") == 50
    assert (photos.count("photos", odd), photos.count("photos", large)) == (25, 25)
    ids = [record.id for record in photos.scroll("photos", limit=20, where=large).records]
    assert ids == list(range(25, 45))
    assert photos.scroll("photos", limit=20).next_offset == 20
    best = [hit.record.id for hit in photos.query("photos", Query([1, 0], 12, exact=True))]  # more than a page
    assert best == [9, 19, 29, 39, 49, 8, 18, 28, 38, 48, 7, 17]
    assert len(photos.retrieve("photos", range(50))) == 50
    version = photos.set_payload("photos", Chosen([1], where=large), {"n": 0})
    assert {record.id for record in photos.scroll("photos", limit=50).records if record.version == version} == {
        1,
        *range(25, 50),
    }
    photos.delete("photos", Chosen(where=odd))
    assert photos.count("photos") == 25
    assert len({record.id for record in photos.sample("photos", limit=9)}) == 9


def test_a_search_that_may_be_inexact_is_scored_exactly(photos):
    rng = np.random.default_rng(0)
    points = [Point(i, vector, {"even": str(i % 2 == 0)}) for i, vector in enumerate(rng.normal(size=(200, 2)))]
    photos.upsert("photos", points)
    where = {"must": {"key": "even", "match": {"value": "True"}}}
    for condition in (None, where):
        found = photos.query("photos", Query([0.3, 0.7], 10, filter=condition))
        exact = photos.query("photos", Query([0.3, 0.7], 10, filter=condition, exact=True))
        assert [(hit.record.id, hit.score) for hit in found] == [(hit.record.id, hit.score) for hit in exact]


def test_a_spent_budget_ends_a_reading(photos):
    photos.upsert("photos", [Point(1, [1, 1], {})])
    budget = Budget()
    budget.cancel()
    with pytest.raises(DeadlineExceeded):
        photos.query("photos", Query([1, 1], exact=True), budget=budget)


def test_sizes_that_milvus_does_not_have(store):
    for size in (1, 32_769):
        with pytest.raises(InvalidRequest, match=r"vectors\.size: 2 to 32768 in Milvus, not"):
            store.create("a", size, "Dot")
    assert store.names() == []


@pytest.mark.parametrize("name", ['x" or key != "', "aliases", "c/photos", "", "é"])
def test_names_that_are_none(photos, name):
    for ask in (photos.describe, photos.size, photos.count):
        with pytest.raises(CollectionNotFound):
            ask(name)
    assert photos.drop(name) is False
    with pytest.raises((InvalidRequest, CollectionNotFound)):
        photos.change_aliases([CreateAlias("now", name)])


def test_payloads_that_become_too_large_change_nothing(photos):
    photos.upsert("photos", [Point(i, [1, 1], {"text": "x" * 60_000 * i}) for i in (0, 1)])
    with pytest.raises(InvalidRequest, match="that of 1 points would have more than 65536 bytes"):
        photos.set_payload("photos", Chosen([0, 1]), {"more": "x" * 6_000})
    assert [record.version for record in photos.scroll("photos", limit=9).records] == [1, 1]


def test_the_largest_payload_and_every_number_come_back(photos):
    payload = {"text": "é" * 32_000, "top": (1 << 64) - 1, "low": -(1 << 63), "one": 1.0, "tiny": 5e-324, "z": None}
    photos.upsert("photos", [Point(1, [1, 1], payload)])
    found = photos.get("photos", 1).payload
    assert list(map(repr, found.items())) == list(map(repr, payload.items()))


def answers(store):
    try:
        store.check()
    except NotReady:
        return False
    return True


def test_milvus_goes_and_comes_back(tmp_path, caplog, capfd):
    lite = Lite(tmp_path)
    address = lite.start()
    store = open_store(Settings(vectors=f"milvus://{address}"))
    store.create("a", 2, "Dot")
    store.upsert("a", [Point(1, [1, 1], {})])
    lite.stop()
    for ask in (store.check, store.names, lambda: store.upsert("a", [])):
        with caplog.at_level(logging.ERROR), pytest.raises(NotReady, match="Milvus could not") as error:
            ask()
        assert "127.0.0.1" not in error.value.detail
    assert "Milvus could not read: " in caplog.text
    assert "Traceback" not in capfd.readouterr().err
    lite.start(int(address.rpartition(":")[2]))
    end = monotonic() + 10
    while not answers(store):
        assert monotonic() < end
        sleep(0.05)
    assert store.get("a", 1).version == 1
    store.close()
    lite.stop()
    with pytest.raises(NotReady, match="closed"):
        store.names()
    store.close()


def test_no_milvus_is_there():
    address = f"127.0.0.1:{free_port()}"
    pytest.importorskip("pymilvus", reason="pymilvus, the extra `milvus`, is not installed")
    with pytest.raises(StorageError, match=f"no Milvus answers at {address}"):
        open_store(Settings(vectors=f"milvus://{address}"))
