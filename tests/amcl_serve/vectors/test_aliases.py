from __future__ import annotations

import pytest

from amcl_serve.errors import CollectionExists, CollectionNotFound, InvalidRequest
from amcl_serve.vectors.types import Alias, Chosen, CreateAlias, DeleteAlias, Point, Query, RenameAlias


@pytest.fixture
def two(store):
    for name, value in (("a", 1), ("b", 2)):
        store.create(name, 1, "Dot")
        store.upsert(name, [Point(value, [value], {})])
    return store


def test_an_alias_is_a_second_name(two):
    two.change_aliases([CreateAlias("current", "a")])
    assert two.aliases() == two.aliases("a") == two.aliases("current") == [Alias("current", "a")]
    assert two.aliases("b") == []
    assert two.names() == ["a", "b"]
    assert two.describe("current").name == "a"
    two.upsert("current", [Point(7, [7], {})])
    assert [hit.record.id for hit in two.query("current", Query([1]))] == [7, 1]
    assert two.count("a") == two.count("current") == 2
    two.delete("current", Chosen(ids=[7]))
    assert two.get("current", 1).id == 1


def test_it_is_moved_in_one_step(two):
    two.change_aliases([CreateAlias("current", "a")])
    two.change_aliases([RenameAlias("current", "before"), CreateAlias("current", "b")])
    assert two.aliases() == [Alias("before", "a"), Alias("current", "b")]
    assert [hit.record.id for hit in two.query("current", Query([1]))] == [2]
    with pytest.raises(CollectionNotFound, match="'nope'"):
        two.change_aliases([DeleteAlias("before"), CreateAlias("current", "nope")])
    assert two.aliases() == [Alias("before", "a"), Alias("current", "b")]  # all of them or none
    two.change_aliases([DeleteAlias("before"), DeleteAlias("nope")])
    assert two.aliases() == [Alias("current", "b")]


def test_a_name_is_of_one_thing(two):
    two.change_aliases([CreateAlias("current", "a")])
    for action in (CreateAlias("b", "a"), RenameAlias("current", "b")):
        with pytest.raises(CollectionExists, match="'b' is the name of a collection"):
            two.change_aliases([action])
    with pytest.raises(CollectionExists, match="alias"):
        two.create("current", 1, "Dot")
    with pytest.raises(InvalidRequest, match="name"):
        two.change_aliases([CreateAlias("a b", "a")])
    with pytest.raises(CollectionNotFound, match="no alias 'nope'"):
        two.change_aliases([RenameAlias("nope", "x")])
    assert two.drop("current") is False  # only by its own name
    assert two.drop("a") is True
    assert two.aliases() == []
    with pytest.raises(CollectionNotFound):
        two.describe("current")
    two.create("current", 1, "Dot")
