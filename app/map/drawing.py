"""The map of a collection: read through the store, bit by bit, within a budget, and sent as bytes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.scan import Scan
from amcl_serve.vectors.types import Rows
from app.map import projection

MAX_POINTS = 100_000  # of a map; of larger collections as many are drawn
PART = 4096  # points that are read at a time
SAMPLE_BYTES = 64 * 1024 * 1024  # of the vectors that the plane is learnt from
MAX_SAMPLE = 8192
SEEN = 200  # points whose payloads say which fields there are
CATEGORIES = 9  # of a field that have colours; the others share one
NONE = 255  # the code of a point without a value


@dataclass(frozen=True)
class Map:
    """Points of a collection, in the order of their rows."""

    token: str  # tells it from every other
    scan: Scan
    rows: Rows  # [N]
    body: bytes
    places: npt.NDArray[np.float32]  # [N, 2], in −1 to 1
    clusters: npt.NDArray[np.uint8]  # [N]


def draw(scan: Scan, *, budget: Budget) -> Map:
    """The map of a scan, as bytes that `app/assets/explore.js` reads.

    A header of JSON behind its length (uint32, little-endian), padded so that what follows begins at a multiple of
    four; x [N], then y [N] as float32, in −1 to 1; the cluster of each as uint8 [N]; then the ids, one a line.
    """
    rows = scan.rows
    if len(rows) > MAX_POINTS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MAX_POINTS, replace=False))
    if not len(rows):
        none = np.empty((0, 2), np.float32)
        return Map("", scan, rows, _packed({"points": 0, "shown": 0}, [], []), none, np.empty(0, np.uint8))
    most = max(2, min(MAX_SAMPLE, SAMPLE_BYTES // (4 * scan.info.size)))
    plane = projection.learn(scan.vectors(_spread(rows, most))[1])
    kept, places, clusters = [], [], []
    for part in _parts(rows, budget):
        found, vectors = scan.vectors(part)
        xy, cluster = plane.place(vectors)
        kept.append(found)
        places.append(xy)
        clusters.append(cluster)
    rows, xy = np.concatenate(kept), np.concatenate(places)
    ids: list[str] = []
    for part in _parts(rows, budget):
        stored = scan.points(part)
        ids += [str(stored[row].id) if row in stored else "" for row in part.tolist()]
    low, high = xy.min(axis=0), xy.max(axis=0)
    reach = max(float((high - low).max()), 1e-30)  # one scale, so that angles stay what they are
    xy = (xy - (low + high) / 2) * (1.9 / reach)
    token = hashlib.sha256(rows.tobytes() + repr(scan.key).encode()).hexdigest()[:16]
    head = {
        "token": token,
        "points": len(scan.rows),
        "shown": len(rows),
        "explained": round(plane.explained, 4),
        "clusters": len(plane.centres),
        "fields": _fields(scan, rows),
        "thumbnails": scan.info.thumbnails,
        "name": scan.info.name,
    }
    cluster = np.concatenate(clusters)
    arrays = [xy[:, 0].astype("<f4"), xy[:, 1].astype("<f4"), cluster]
    return Map(token, scan, rows, _packed(head, arrays, ids), xy.astype(np.float32), cluster)


def colours(drawn: Map, key: str, *, budget: Budget) -> bytes:
    """What the payloads of a map's points have at `key`: the header, then uint8 [N], packed as a map is.

    Few values, or texts, are categories: codes are their places in `categories`, whose last may be "others". Many
    numbers are a scale from `low` to `high`, 0 to 254. 255 is a point without a value.
    """
    values: list[Any] = []
    for part in _parts(drawn.rows, budget):
        stored = drawn.scan.points(part)
        values += [_scalar(stored[row].payload.get(key)) if row in stored else None for row in part.tolist()]
    known = Counter(value for value in values if value is not None)
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)
    if numbers and len(known) > CATEGORIES:
        scale = np.array([np.nan if value is None else float(value) for value in values])
        low, high = float(np.nanmin(scale)), float(np.nanmax(scale))
        share = (scale - low) / (high - low)
        codes = np.where(np.isnan(share), NONE, np.nan_to_num(share) * 254).astype(np.uint8)
        return _packed({"low": low, "high": high}, [codes], [])
    named = [value for value, _ in known.most_common(CATEGORIES)]
    place = {value: code for code, value in enumerate(named)}
    other = len(named)
    codes = np.array([NONE if value is None else place.get(value, other) for value in values], np.uint8)
    categories = [str(value) for value in named] + (["others"] if len(known) > len(named) else [])
    counts = np.bincount(codes, minlength=256)[: len(categories)].tolist()
    return _packed({"categories": categories, "counts": counts, "none": int((codes == NONE).sum())}, [codes], [])


def _parts(rows: Rows, budget: Budget) -> Iterator[Rows]:
    for start in range(0, len(rows), PART):
        if budget.spent:
            raise budget.exceeded()
        yield rows[start : start + PART]


def _spread(rows: Rows, most: int) -> Rows:
    """At most so many of the rows, from all of them."""
    return np.ascontiguousarray(rows[:: -(-len(rows) // most)])


def _fields(scan: Scan, rows: Rows) -> list[str]:
    """Keys of the payloads' texts, numbers and truths, the most frequent first."""
    stored = scan.points(_spread(rows, SEEN))
    found = Counter(
        key for point in stored.values() for key, value in point.payload.items() if _scalar(value) is not None
    )
    return [key for key, _ in found.most_common(20)]


def _scalar(value: Any) -> str | int | float | bool | None:
    return value if isinstance(value, str | int | float | bool) else None


def _packed(head: dict[str, Any], arrays: list[npt.NDArray[Any]], ids: list[str]) -> bytes:
    text = orjson.dumps(head)
    text += b" " * (-len(text) % 4)
    return b"".join(
        [len(text).to_bytes(4, "little"), text, *(each.tobytes() for each in arrays), "\n".join(ids).encode()]
    )
