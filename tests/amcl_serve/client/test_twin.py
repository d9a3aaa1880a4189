"""The blocking client is what is generated from the awaited one, and both read like their documentation."""

from __future__ import annotations

import inspect
from pathlib import Path

from amcl_serve.client import AsyncClient, Client
from scripts.blocking_client import CLIENT, TWIN, main

METHODS = {
    *("embed", "embed_each", "similarity", "similarity_cross", "models", "model", "ready"),
    *("collections", "collection", "create_collection", "delete_collection"),
    *("index_field", "aliases", "set_aliases"),
    *("upsert", "query", "delete", "count", "scroll", "retrieve", "thumbnail"),
    *("duplicates", "leaks", "outliers", "sample"),
}


def test_the_committed_twin_is_the_generated_one(tmp_path: Path) -> None:
    main(tmp_path)
    names = sorted(path.name for path in (CLIENT / TWIN).glob("*.py"))
    assert names == sorted(path.name for path in tmp_path.iterdir())
    for name in names:
        assert (CLIENT / TWIN / name).read_text() == (tmp_path / name).read_text(), f"{name}: run `make client`"


def test_methods_have_their_own_signatures_and_documentation() -> None:
    public = {name for name in dir(Client) if not name.startswith("_") and callable(getattr(Client, name))}
    assert public == METHODS | {"close"}
    for name in METHODS:
        ours, awaited = getattr(Client, name), getattr(AsyncClient, name)
        assert inspect.getdoc(ours)
        assert inspect.getdoc(ours) == inspect.getdoc(awaited)
        assert inspect.signature(ours) == inspect.signature(awaited)
        assert inspect.iscoroutinefunction(awaited)
        assert not inspect.iscoroutinefunction(ours)
    assert str(inspect.signature(Client.models)) == "(self) -> 'list[ModelSummary]'"
