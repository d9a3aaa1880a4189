"""What searches find, as it is answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from amcl_serve.errors import InvalidRequest
from amcl_serve.http.answers.envelope import check_payloads, record
from amcl_serve.http.answers.pairs import Pairing
from amcl_serve.http.reading.targets import Chance, Target
from amcl_serve.http.shapes.search import CANDIDATES, QueryOptions, SearchParams
from amcl_serve.vectors.budget import Budget
from amcl_serve.vectors.protocol import VectorStore
from amcl_serve.vectors.types import MAX_LIMIT, MAX_REACH, Hit, Order, Query, Record

GroupId = int | str


class Finder:
    """Runs the searches of one request, whose answers have a common bound."""

    def __init__(self, store: VectorStore, name: str, budget: Budget) -> None:
        self._store = store
        self._name = name
        self._budget = budget
        self._payloads = 0  # characters

    def points(self, target: Target, options: QueryOptions) -> dict[str, Any]:
        """The points of a search, and what was asked for of each."""
        if target is None or isinstance(target, Order | Chance):
            return {"points": [self._answered(*each, options) for each in self._listed(target, options)]}
        hits = self._store.query(
            self._name, _query(target, options.limit, options.offset, options), budget=self._budget
        )
        return {"points": [self._hit(hit, options) for hit in hits]}

    def reranked(self, target: Target, options: QueryOptions, pairing: Pairing) -> dict[str, Any]:
        """The best points by their pairs with an image, of the best by its vector; ties in the order of these."""
        reach = options.candidates or max(CANDIDATES, options.limit + options.offset)
        hits = self._store.query(self._name, _query(target, reach, 0, options, threshold=False), budget=self._budget)
        heads = self._store.heads(self._name, [hit.record.id for hit in hits])
        hits = [hit for hit in hits if hit.record.id in heads]  # the others have been deleted meanwhile
        if not hits:
            return {"points": []}
        scores = pairing.scores(hits, [heads[hit.record.id] for hit in hits])
        order = np.argsort(-scores, kind="stable")[options.offset :][: options.limit]
        if options.score_threshold is not None:
            order = order[scores[order] >= np.float32(options.score_threshold)]
        return {
            "points": [
                self._answered(hits[i].record, scores[i], None, options) | {"vector_score": hits[i].score}
                for i in order.tolist()
            ]
        }

    def groups(self, target: Target, options: QueryOptions, *, by: str, size: int) -> dict[str, Any]:
        """The first `limit` groups, `size` points of each at most, by the values at `by`; of the best 10,000."""
        if target is None or isinstance(target, Order | Chance):
            raise InvalidRequest("query: groups are of the points nearest to something")
        reach = min(MAX_REACH, 4 * options.limit * size)
        while True:
            hits: list[Hit] = []
            for offset in range(0, reach, MAX_LIMIT):
                limit = min(MAX_LIMIT, reach - offset)
                query = _query(target, limit, offset, options, grouped=True)
                page = self._store.query(self._name, query, budget=self._budget)
                hits += page
                if len(page) < limit:
                    break
            groups = _groups(hits, by, options.limit, size)
            full = len(groups) == options.limit and all(len(found) == size for found in groups.values())
            if full or len(hits) < reach or reach == MAX_REACH:
                listed = groups.items()
                return {"groups": [{"id": of, "hits": [self._hit(h, options) for h in found]} for of, found in listed]}
            reach = min(MAX_REACH, 4 * reach)

    def _listed(self, target: Order | Chance | None, options: QueryOptions) -> list[tuple[Record, float, float | None]]:
        """Points that are near to nothing: their scores are 0."""
        reach = options.limit + options.offset
        if reach > MAX_LIMIT:
            raise InvalidRequest(f"limit + offset: at most {MAX_LIMIT} without something to be near to")
        asked: dict[str, Any] = {"limit": reach, "where": options.filter, "budget": self._budget}
        if isinstance(target, Order):
            found = self._store.scroll_by(self._name, target, **asked)
            return [(each, 0.0, value) for each, value in found[options.offset :]]
        if target is None:
            records = self._store.scroll(self._name, **asked).records
        else:
            records = self._store.sample(self._name, **asked)
        return [(each, 0.0, None) for each in records[options.offset :]]

    def _hit(self, hit: Hit, options: QueryOptions) -> dict[str, Any]:
        return self._answered(hit.record, hit.score, None, options)

    def _answered(self, found: Record, score: Any, order: float | None, options: QueryOptions) -> dict[str, Any]:
        if options.with_payload is not False:
            self._payloads += len(found.payload_json)
            check_payloads(self._payloads)
        answer = record(found, payload=options.with_payload, vector=options.with_vector)
        answer = {"id": answer.pop("id"), "version": found.version, "score": score, **answer}
        return answer if order is None else {**answer, "order_value": order}


Find = Callable[[Finder, Target, QueryOptions], Any]


def _query(
    target: Target, limit: int, offset: int, options: QueryOptions, *, threshold: bool = True, grouped: bool = False
) -> Query:
    params = options.params or SearchParams(exact=None, hnsw_ef=None, indexed_only=None)
    least = options.score_threshold if threshold else None
    payload = grouped or options.with_payload is not False
    return Query(target, limit, offset, least, options.filter, bool(params.exact), params.hnsw_ef, payload)


def _groups(hits: list[Hit], by: str, limit: int, size: int) -> dict[GroupId, list[Hit]]:
    groups: dict[GroupId, list[Hit]] = {}
    for hit in hits:
        for value in _values(hit.record.payload, by.split(".")):
            if value not in groups and len(groups) < limit:
                groups[value] = []
            if value in groups and len(groups[value]) < size:
                groups[value].append(hit)
    return groups


def _values(payload: Any, names: list[str]) -> list[GroupId]:
    """The texts and integers at a key, each once."""
    for name in names:
        payload = payload.get(name) if isinstance(payload, dict) else None
    listed = payload if isinstance(payload, list) else [payload]
    return list(dict.fromkeys(v for v in listed if isinstance(v, int | str) and not isinstance(v, bool)))
