"""What a search is by: a vector, a stored point, an image, examples of these, an order, or chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from amcl_serve.errors import InvalidRequest
from amcl_serve.http.reading.collection_images import Place
from amcl_serve.http.reading.images import Image, from_text
from amcl_serve.http.shapes.points import ImageBody, OrderBy
from amcl_serve.http.shapes.search import NearestQuery, OrderByQuery, RecommendQuery, SampleQuery
from amcl_serve.vectors.types import Examples, Order, PointId


@dataclass(frozen=True)
class Picture:
    """An image in place of a vector; `model` is the one that is asked for by its name."""

    image: Image
    place: Place
    model: str | None = None


class Chance:
    """Points at random."""


# A vector is a list of floats, or, once a picture is embedded, an array.
Target = Any  # vector | PointId | Picture | Examples of these | Order | Chance | None, which is the order of ids


def target_of(given: Any, place: Place) -> Target:
    """The shape of a query as a target; `place` is the query's, and of its only image. InvalidRequest for a URL."""
    if isinstance(given, NearestQuery):
        return _example(given.nearest, place)
    if isinstance(given, RecommendQuery):
        words = f"{place.words}.recommend"
        return Examples(
            *(
                [
                    _example(each, Place(place.operand, place.index, f"{words}.{name}[{index}]"))
                    for index, each in enumerate(listed)
                ]
                for name, listed in (("positive", given.recommend.positive), ("negative", given.recommend.negative))
            )
        )
    if isinstance(given, OrderByQuery):
        return order_of(given.order_by)
    if isinstance(given, SampleQuery):
        return Chance()
    return _example(given, place)


def order_of(given: str | OrderBy) -> Order:
    """An order as a store has it."""
    if isinstance(given, str):
        return Order(given)
    return Order(given.key, given.direction == "desc", given.start_from)


def picture(given: ImageBody, place: Place) -> Picture:
    """An image of a body; InvalidRequest for a URL."""
    return Picture(from_text(given.image, place.operand, place.index, place.words), place, given.model)


def pictures(target: Target) -> list[Picture]:
    """The images of a target."""
    parts = [*target.positive, *target.negative] if isinstance(target, Examples) else [target]
    return [part for part in parts if isinstance(part, Picture)]


def asked_for(wanted: str | None, seen: Sequence[Picture]) -> str | None:
    """The one model that a request and its images ask for; InvalidRequest for several."""
    names = {name for name in (wanted, *(each.model for each in seen)) if name is not None}
    if len(names) > 1:
        raise InvalidRequest(f"the images of a request are of one model, not of {', '.join(sorted(names))}")
    return next(iter(names), None)


def embedded(target: Target, rows: Iterator[Any]) -> Target:
    """The target with a vector in place of each image, in the order of `pictures`."""
    if isinstance(target, Examples):
        return Examples(*([embedded(part, rows) for part in parts] for parts in (target.positive, target.negative)))
    return next(rows) if isinstance(target, Picture) else target


def _example(given: list[float] | PointId | ImageBody | None, place: Place) -> Target:
    return picture(given, place) if isinstance(given, ImageBody) else given
