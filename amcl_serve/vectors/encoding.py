"""Points as they are stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from amcl_serve.errors import InvalidRequest, ItemFault
from amcl_serve.vectors.types import CollectionInfo, Point, Vectors
from amcl_serve.vectors.values import as_vectors, encode_payload, id_to_key


def encoded(points: Sequence[Point], collection: CollectionInfo) -> Iterator[tuple[str, tuple[str, Vectors]]]:
    """Key, payload and vector of each as they are stored; InvalidRequest about the first that cannot be."""
    vectors = as_vectors([point.vector for point in points], collection.size, collection.distance)
    for index, (point, vector) in enumerate(zip(points, vectors, strict=True)):
        place = "payload"
        try:
            payload = encode_payload(point.payload)
            place = "vector"
            if isinstance(vector, InvalidRequest):
                raise vector
        except InvalidRequest as error:
            fault = ItemFault("points", index, error.code, f"{place}: {error.detail}")
            raise InvalidRequest(f"points[{index}].{place}: {error.detail}", [fault]) from None
        yield id_to_key(point.id), (payload, vector)
