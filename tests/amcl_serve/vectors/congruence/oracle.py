"""The store as one would write it in an hour: dictionaries, and NumPy for the scores."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np
import orjson

from amcl_serve.errors import (
    CollectionExists,
    CollectionMismatch,
    CollectionNotFound,
    InvalidRequest,
    PointNotFound,
)
from amcl_serve.vectors.types import CreateAlias, DeleteAlias, Examples, Point
from tests.amcl_serve.vectors.conditions import MISSING, holds, resolve


@dataclass
class Stored:
    vector: np.ndarray
    payload: dict[str, Any]
    version: int


@dataclass
class Collection:
    name: str
    size: int
    distance: str
    version: int = 0
    model: Any = None
    points: dict[Any, Stored] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)


def by_id(identity):
    return (isinstance(identity, UUID), identity)


class Oracle:
    """Answers are plain values: a point is (id, version, vector, payload as JSON)."""

    def __init__(self):
        self.collections = {}
        self.standing = {}

    def find(self, name) -> Collection:
        if name in self.collections:
            return self.collections[name]
        if name in self.standing:
            return self.collections[self.standing[name]]
        raise CollectionNotFound(name)

    def create(self, name, size, distance):
        if name in self.collections or name in self.standing:
            raise CollectionExists(name)
        self.collections[name] = Collection(name, size, distance)

    def drop(self, name):
        self.standing = {alias: each for alias, each in self.standing.items() if each != name}
        return self.collections.pop(name, None) is not None

    def recover(self, name, other):
        """`name` becomes what `other` is, as from a snapshot that was made of it just now."""
        copied = copy.deepcopy(self.find(other))
        if name in self.standing:
            raise CollectionExists(name)
        copied.name = name
        self.collections[name] = copied

    def names(self):
        return sorted(self.collections)

    def describe(self, name):
        found = self.find(name)
        return (found.name, found.size, found.distance, found.model, len(found.points))

    def upsert(self, name, points, model=None):
        found = self.find(name)
        vectors = [prepared(point.vector, found) for point in points]
        if model is not None:
            if found.model not in (None, model) or model.size != found.size:
                raise CollectionMismatch(name)
            found.model = model
        found.version += 1
        for point, vector in zip(points, vectors, strict=True):
            found.points[point.id] = Stored(vector, copy.deepcopy(point.payload), found.version)
        return found.version

    def delete(self, name, chosen):
        found = self.find(name)
        found.version += 1
        for identity in self._chosen(found, chosen):
            del found.points[identity]
        return found.version

    def set_payload(self, name, chosen, payload, key=None):
        def change(old):
            at = old
            for member in key.split(".") if key else ():
                if not isinstance(at.get(member), dict):
                    at[member] = {}
                at = at[member]
            at.update(copy.deepcopy(payload))
            return old

        return self._change(name, chosen, change)

    def overwrite_payload(self, name, chosen, payload):
        return self._change(name, chosen, lambda _: copy.deepcopy(payload))

    def delete_payload(self, name, chosen, keys):
        def change(old):
            for key in keys:
                *way, last = key.split(".")
                at = resolve(old, ".".join(way)) if way else old
                if isinstance(at, dict):
                    at.pop(last, None)
            return old

        return self._change(name, chosen, change)

    def _change(self, name, chosen, change):
        found = self.find(name)
        found.version += 1
        for identity in self._chosen(found, chosen):
            stored = found.points[identity]
            stored.payload, stored.version = change(stored.payload), found.version
        return found.version

    def _chosen(self, found, chosen):
        return {
            identity
            for identity in found.points
            if identity in chosen.ids or (chosen.where is not None and self._fits(found, identity, chosen.where))
        }

    def _fits(self, found, identity, where):
        return where is None or holds(where, Point(identity, [], found.points[identity].payload))

    def _matching(self, found, where):
        return sorted((i for i in found.points if self._fits(found, i, where)), key=by_id)

    def scroll(self, name, *, limit, start=None, where=None):
        found = self.find(name)
        ids = [i for i in self._matching(found, where) if start is None or by_id(i) >= by_id(start)]
        return [shown(found, i) for i in ids[:limit]], ids[limit] if len(ids) > limit else None

    def scroll_by(self, name, order, *, limit, where=None):
        found = self.find(name)
        if order.key not in found.fields:
            raise InvalidRequest(order.key)
        rows = [(number, i) for i in self._matching(found, where) for number in self._numbers(found, i, order.key)]
        sign = -1 if order.descending else 1
        rows = [row for row in rows if order.start is None or sign * row[0] >= sign * order.start]
        rows.sort(key=lambda row: (sign * row[0], by_id(row[1])))
        return [(shown(found, i), number) for number, i in rows[:limit]]

    def _numbers(self, found, identity, key):
        value = resolve(found.points[identity].payload, key)
        elements = value if isinstance(value, list) else [] if value is MISSING else [value]
        return {e for e in elements if isinstance(e, int | float) and not isinstance(e, bool)}

    def count(self, name, where=None):
        return len(self._matching(self.find(name), where))

    def get(self, name, point):
        found = self.find(name)
        if point not in found.points:
            raise PointNotFound(point)
        return shown(found, point)

    def retrieve(self, name, points):
        found = self.find(name)
        return [shown(found, i) for i in sorted(set(points) & set(found.points), key=by_id)]

    def aliases(self, name=None):
        only = None if name is None else self.find(name).name
        return sorted((alias, each) for alias, each in self.standing.items() if only in (None, each))

    def change_aliases(self, actions):
        before = dict(self.standing)
        try:
            for action in actions:
                self._change_alias(action)
        except Exception:
            self.standing = before
            raise

    def _change_alias(self, action):
        if isinstance(action, DeleteAlias):
            self.standing.pop(action.alias, None)
            return
        new = action.alias if isinstance(action, CreateAlias) else action.new
        if new in self.collections:
            raise CollectionExists(new)
        if isinstance(action, CreateAlias):
            self.standing[new] = self.find(action.collection).name
        elif action.old not in self.standing:
            raise CollectionNotFound(action.old)
        else:
            self.standing[new] = self.standing.pop(action.old)

    def fields(self, name):
        found = self.find(name)
        answer = []
        for key, schema in sorted(found.fields.items()):
            values = [resolve(stored.payload, key) for stored in found.points.values()]
            lists = [value if isinstance(value, list) else [value] for value in values]
            points = sum(any(isinstance(e, bool | int | float | str) for e in elements) for elements in lists)
            answer.append((key, schema, points))
        return answer

    def index_field(self, name, key, schema):
        found = self.find(name)
        found.fields.setdefault(key, schema)
        return found.version

    def forget_field(self, name, key):
        found = self.find(name)
        found.fields.pop(key, None)
        return found.version

    def query(self, name, query):
        found = self.find(name)
        without, target = self._target(found, query.target)
        ranked = []
        for identity in self._matching(found, query.filter):
            if identity not in without:
                stored = found.points[identity].vector.astype(np.float64)
                if found.distance == "Euclid":
                    score = np.float32(np.sqrt(np.square(stored - target).sum()))
                    ranked.append((score, by_id(identity), score))
                else:
                    score = np.float32((stored * target).sum())
                    ranked.append((-score, by_id(identity), score))
        ranked.sort(key=lambda row: row[:2])
        best = [(identity, score) for _, (_, identity), score in ranked[query.offset :][: query.limit]]
        if query.score_threshold is not None:
            bound = np.float32(query.score_threshold)
            best = [(i, s) for i, s in best if (s <= bound if found.distance == "Euclid" else s >= bound)]
        return [(shown(found, i), float(score)) for i, score in best]

    def _target(self, found, target):
        if not isinstance(target, Examples):
            without, vector = self._example(found, target)
            return without, vector.astype(np.float64)
        examples = [[self._example(found, each) for each in side] for side in (target.positive, target.negative)]
        without = set().union(*(ids for side in examples for ids, _ in side))
        liked, rest = (np.array([vector for _, vector in side], np.float64) for side in examples)
        wanted = liked.mean(axis=0)
        if len(rest):
            wanted = wanted + wanted - rest.mean(axis=0)
        return without, prepared(wanted, found).astype(np.float64)

    def _example(self, found, target):
        if isinstance(target, int | UUID):
            if target not in found.points:
                raise PointNotFound(target)
            return {target}, found.points[target].vector
        return set(), prepared(target, found)


def prepared(vector, found):
    wide = np.asarray(vector, np.float64)
    if wide.shape != (found.size,):
        raise InvalidRequest("size")
    if found.distance != "Cosine":
        return wide.astype(np.float32)
    if not wide.any():
        raise InvalidRequest("zeros")
    return (wide / np.linalg.norm(wide)).astype(np.float32)


def shown(found, identity):
    stored = found.points[identity]
    return identity, stored.version, stored.vector.tolist(), orjson.dumps(stored.payload).decode()
