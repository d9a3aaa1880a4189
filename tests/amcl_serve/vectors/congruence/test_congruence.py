"""Any engine gives the oracle's answers, whatever is done in whatever order, also after it was closed and opened."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from amcl_serve.vectors.index import grower
from amcl_serve.vectors.store import GRAPHS, SqliteStore
from tests.amcl_serve.vectors.congruence.scenario import Scenario
from tests.milvus import Lite


class Embedded:
    """`kept` counts how often there were graphs when it was opened again."""

    snapshots = True

    def __init__(self, folder):
        self.folder, self.kept = folder, 0

    def open(self):
        graphs = self.folder / GRAPHS
        self.kept += graphs.is_dir() and any(graphs.iterdir())
        return SqliteStore(self.folder)


class Milvus:
    """Milvus begins anew whenever the store does."""

    snapshots = False

    def __init__(self, folder):
        self.lite = Lite(folder)

    def open(self):
        from amcl_serve.vectors.milvus.store import MilvusStore

        self.lite.stop()
        return MilvusStore(self.lite.start())


@pytest.fixture(params=["embedded", "graph", "milvus"])
def engine(request, tmp_path, monkeypatch):
    if request.param == "graph":  # from a handful of points on, kept between runs
        for name, value in (("LARGE", 6), ("_REST", 2), ("_WAIT", 0.01)):
            monkeypatch.setattr(grower, name, value)
    if request.param != "milvus":
        yield Embedded(tmp_path)
        return
    engine = Milvus(tmp_path)
    yield engine
    engine.lite.stop()


def run(engine, examples, steps):
    given = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(lambda: Scenario(engine), settings=given)


def test_scenarios(engine, request):
    run(engine, 8 if isinstance(engine, Milvus) else 15, 30)
    assert isinstance(engine, Milvus) or bool(engine.kept) == ("graph" in request.node.name)


@pytest.mark.slow
def test_many_scenarios(engine):
    run(engine, 60 if isinstance(engine, Milvus) else 200, 50)
