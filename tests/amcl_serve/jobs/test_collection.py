from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from amcl_serve.errors import InvalidRequest, NotFound, TooLarge
from amcl_serve.evaluation.stored import stored
from amcl_serve.jobs.collection import CollectionImages
from amcl_serve.vectors.store import SqliteStore
from amcl_serve.vectors.types import Chosen, Point


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


def test_a_collection_without_images_gives_its_vectors(store: SqliteStore) -> None:
    store.create("a", 2, "Cosine")
    store.upsert("a", [Point(number, np.array([1.0, number]), {"kind": "ab"[number % 2]}) for number in range(40)])
    images = CollectionImages(store, "a", labels="kind", limit=30, seed=1)
    store.delete("a", Chosen([int(images.names[3])]))
    kept = stored(images)
    assert kept is not None
    assert kept.about.name == "vectors of an unknown model"
    vectors = kept.vectors()
    for place, name in enumerate(images.names):
        expected = np.array([1.0, float(name)]) / np.hypot(1.0, float(name))
        np.testing.assert_allclose(vectors[place], [np.nan, np.nan] if place == 3 else expected, rtol=1e-6)
    with pytest.raises(NotFound):
        images.read(0)
    fill_ = CollectionImages(store, "a", root=Path("/nowhere"))
    assert stored(fill_) is None


def test_a_collection_without_points_is_refused(store: SqliteStore) -> None:
    fill(store)
    with pytest.raises(InvalidRequest, match="no point"):
        CollectionImages(store, "a")
