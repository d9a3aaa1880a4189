"""Every filter means in Milvus what it means in SQLite, whether Milvus decides it or whoever reads the payloads."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amcl_serve.settings import Settings
from amcl_serve.vectors.opening import open_store
from amcl_serve.vectors.store import SqliteStore
from amcl_serve.vectors.types import Chosen, Point, Query
from tests.amcl_serve.vectors.conditions import CONDITIONS, FILTERS, PAYLOADS
from tests.milvus import Lite

ALONE = CONDITIONS.map(lambda condition: {"must": [condition]})


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    lite = Lite(tmp_path_factory.mktemp("milvus"))
    stores = [SqliteStore(tmp_path_factory.mktemp("sqlite")), open_store(Settings(vectors=f"milvus://{lite.start()}"))]
    for store in stores:
        store.create("a", 2, "Dot")
    yield stores
    for store in stores:
        store.close()
    lite.stop()


def listed(store, where):
    return [record.id for record in store.scroll("a", limit=1000, where=where).records]


def answers(store, where):
    ids = listed(store, where)
    assert store.count("a", where) == len(ids)
    for exact in (True, False):
        assert {hit.record.id for hit in store.query("a", Query([1, 1], 1000, filter=where, exact=exact))} == set(ids)
    return ids


TEXTS = ["x", "1", "", "true", "null", "é", "it's", 'a "b"', "a\\b", "%", "x y", "[x]"]
SCALARS = [*TEXTS, 1, 1.0, 0, True, False, None]
VALUES = [*SCALARS, [], *([value] for value in SCALARS), ["y", "x"], [["x"]], [{"c": "x"}], {"c": "x"}, {"0": "x"}]


def test_every_kind_of_value_and_text(stores):
    payloads = [{"a": value} for value in VALUES] + [{"a": {"b": value}} for value in VALUES] + [{}, {"b": "x"}]
    for store in stores:
        store.delete("a", Chosen(where={}))
        store.upsert("a", [Point(i, [1, i % 3], payload) for i, payload in enumerate(payloads)])
    for key in ("a", "a.b", "a.c", "a.0", "b"):
        matches = [{"value": text} for text in TEXTS] + [{"any": ["x", "1"]}, {"any": [""]}, {"any": []}, {"value": 1}]
        for match in matches:
            condition = {"key": key, "match": match}
            for where in ({"must": condition}, {"must_not": condition}, {"should": [condition, {"has_id": [0, 9]}]}):
                embedded, milvus = (listed(store, where) for store in stores)
                assert milvus == embedded, where


@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
@given(
    payloads=st.lists(PAYLOADS, min_size=30, max_size=30), filters=st.lists(ALONE | FILTERS, min_size=20, max_size=20)
)
def test_filters_agree_with_the_embedded_store(stores, payloads, filters):
    for store in stores:
        store.delete("a", Chosen(where={}))
        store.upsert("a", [Point(i, [1, i % 3], payload) for i, payload in enumerate(payloads)])
    for where in filters:
        embedded, milvus = (answers(store, where) for store in stores)
        assert milvus == embedded, where
