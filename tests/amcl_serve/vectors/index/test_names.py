from __future__ import annotations

from uuid import UUID

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from amcl_serve.vectors.index.change import Change
from amcl_serve.vectors.index.names import Names
from amcl_serve.vectors.values import id_to_key

STEPS = st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 60), st.floats(0, 0.9)), min_size=1, max_size=8)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(steps=STEPS, gaps=st.booleans())
def test_they_follow_writes(steps, gaps):
    names = Names()
    wanted: dict[int, tuple[str, int]] = {}
    last = 0
    for version, (seed, more, share) in enumerate(steps, 1):
        rng = np.random.default_rng(seed)
        removed = [row for row in wanted if rng.random() < share]
        left = [row for row in wanted if row not in removed]
        touched = [row for row in left if rng.random() < 0.3]
        added = last + np.cumsum(rng.integers(1, 4 if gaps else 2, more))
        last = int(added[-1]) if more else last
        points = [UUID(int=int(row) << 70) if rng.random() < 0.05 else int(row) << 40 for row in added]
        keys = [id_to_key(point) for point in points]
        vectors = np.empty((more, 0), np.float32)
        names.follow(Change(version, np.array(removed, np.int64), added, vectors, keys, np.array(touched, np.int64)))
        wanted = {row: wanted[row] for row in left} | {row: (wanted[row][0], version) for row in touched}
        wanted |= {row: (key, version) for row, key in zip(added.tolist(), keys, strict=True)}
        assert names.rows.tolist() == sorted(wanted)
        asked = rng.permutation(sorted(wanted)).astype(np.int64)[:10]
        found = list(zip(*names.of(asked), strict=True))
        assert found == [wanted[row] for row in asked.tolist()]
