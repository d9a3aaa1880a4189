from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from amcl_serve.errors import InvalidRequest, NotFound, TooLarge
from amcl_serve.jobs.collection import CollectionImages
from amcl_serve.vectors.store import SqliteStore
from amcl_serve.vectors.types import Point


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    found = SqliteStore(tmp_path / "data")
    yield found
    found.close()


def fill(store: SqliteStore, *paths: object, thumbnails: bool = False) -> None:
    store.create("a", 2, "Cosine", thumbnails=thumbnails)
    points = [
        Point(number, np.ones(2), {"path": path, "kind": number % 2}, b"thumbnail" if thumbnails else None)
        for number, path in enumerate(paths)
    ]
    store.upsert("a", points)


def test_files_are_read_within_the_root_alone(store: SqliteStore, tmp_path: Path) -> None:
    root = tmp_path / "images"
    (root / "in").mkdir(parents=True)
    (root / "in" / "a.png").write_bytes(b"a file")
    (root / "large.png").write_bytes(bytes(100))
    (tmp_path / "secret.png").write_bytes(b"secret")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    outside = ("../secret.png", str(tmp_path / "secret.png"), "link.png", "in", "gone.png", 7)
    fill(store, "in/a.png", "large.png", *outside)
    images = CollectionImages(store, "a", root=root, max_bytes=50)
    assert images.read(0) == b"a file"
    with pytest.raises(TooLarge):
        images.read(1)
    for index in range(2, 2 + len(outside)):
        with pytest.raises(NotFound) as error:
            images.read(index)
        assert str(root) not in error.value.detail


def test_thumbnails_stand_in_for_files(store: SqliteStore, tmp_path: Path) -> None:
    fill(store, "gone.png", thumbnails=True)
    assert CollectionImages(store, "a", root=tmp_path).read(0) == b"thumbnail"
    assert CollectionImages(store, "a").read(0) == b"thumbnail"


def test_a_number_of_them_is_drawn_by_the_seed(store: SqliteStore) -> None:
    fill(store, *map(str, range(50)), thumbnails=True)
    drawn = [CollectionImages(store, "a", labels="kind", limit=10, seed=seed) for seed in (1, 1, 2)]
    assert [len(set(each.names)) for each in drawn] == [10, 10, 10]
    assert drawn[0].names == drawn[1].names != drawn[2].names
    assert drawn[0].labels == [str(int(name) % 2) for name in drawn[0].names]


def test_a_collection_without_images_is_refused(store: SqliteStore) -> None:
    fill(store, "a.png")
    with pytest.raises(InvalidRequest, match="image-root"):
        CollectionImages(store, "a")
