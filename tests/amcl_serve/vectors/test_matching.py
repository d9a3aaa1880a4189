"""Filters as functions of a point, against the same transcription in Python that SQLite's are compared with."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amcl_serve.errors import InvalidRequest
from amcl_serve.vectors.matching import predicate
from amcl_serve.vectors.types import Point
from amcl_serve.vectors.values import id_to_key
from tests.amcl_serve.vectors.conditions import CONDITIONS, FILTERS, PAYLOADS, holds

ALONE = CONDITIONS.map(lambda condition: {"must": condition})


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(payloads=st.lists(PAYLOADS, min_size=7, max_size=7), filters=st.tuples(ALONE, ALONE, FILTERS))
def test_filters_agree_with_the_transcription(payloads, filters):
    for where in filters:
        fits = predicate(where)
        for identity, payload in enumerate(payloads):
            listed = {clause: each if isinstance(each, list) else [each] for clause, each in where.items()}
            assert fits(id_to_key(identity), payload) == holds(listed, Point(identity, [], payload))


def test_no_filter_fits_all_and_a_faulty_one_is_refused():
    assert predicate(None)("x", {})
    with pytest.raises(InvalidRequest, match=r"filter\.must\[0\]: a condition is"):
        predicate({"must": [{"key": "a"}]})
