"""What collections in Milvus do not do, they say."""

from __future__ import annotations

import pytest

from amcl_serve.errors import InvalidRequest
from amcl_serve.vectors.milvus.lacking import Lacking, check_kept
from amcl_serve.vectors.types import USUAL_INDEX, IndexChoice


@pytest.mark.parametrize(
    ("method", "given", "what"),
    [
        ("create_snapshot", ["a"], "snapshots"),
        ("snapshots", ["a"], "snapshots"),
        ("snapshot_file", ["a", "b"], "snapshots"),
        ("delete_snapshot", ["a", "b"], "snapshots"),
        ("recover", ["a", "b"], "snapshots"),
        ("thumbnail", ["a", 1], "thumbnails"),
        ("heads", ["a", [1]], "heads"),
        ("scan", ["a"], "duplicates"),
    ],
)
def test_it_is_refused_by_name(method, given, what):
    with pytest.raises(InvalidRequest, match=f"in Milvus, where there is nothing like this: {what}"):
        getattr(Lacking(), method)(*given)


def test_a_collection_that_wants_more():
    check_kept(USUAL_INDEX, False, False)
    for given, what in (
        ((IndexChoice("ivf"), False, False), "a choice of the index"),
        ((USUAL_INDEX, True, False), "thumbnails"),
        ((USUAL_INDEX, False, True), "heads"),
    ):
        with pytest.raises(InvalidRequest, match=f"nothing like this: {what}"):
            check_kept(*given)
