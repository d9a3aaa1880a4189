"""Any engine gives the oracle's answers, whatever is done in whatever order, also after it was closed and opened."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from amcl_serve.vectors.index import grower
from amcl_serve.vectors.store import SqliteStore
from tests.amcl_serve.vectors.congruence.scenario import Scenario


class Embedded:
    def __init__(self, folder):
        self.folder = folder

    def open(self):
        return SqliteStore(self.folder)


class Milvus:
    """Milvus Lite in this process, on a port of 127.0.0.1; it begins anew too whenever the store does."""

    def __init__(self, folder):
        self.folder, self.server, self.data = folder, None, None

    def open(self):
        from milvus_lite.adapter.grpc.server import start_server_in_thread

        from amcl_serve.vectors.milvus.store import MilvusStore

        self.close()
        self.server, self.data, port = start_server_in_thread(str(self.folder), host="127.0.0.1", port=0)
        return MilvusStore(f"127.0.0.1:{port}")

    def close(self):
        if self.server is not None:
            self.server.stop(None).wait()
            self.data.close()


@pytest.fixture(params=["embedded", "graph", "milvus"])
def engine(request, tmp_path, monkeypatch):
    if request.param == "graph":  # from a handful of points on, kept between runs
        for name, value in (("LARGE", 6), ("_REST", 2), ("_WAIT", 0.01)):
            monkeypatch.setattr(grower, name, value)
    if request.param != "milvus":
        yield Embedded(tmp_path)
        return
    pytest.importorskip("pymilvus", reason="the extra `milvus` is not installed")
    pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")
    engine = Milvus(tmp_path)
    yield engine
    engine.close()


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


def test_scenarios(engine):
    run(engine, 12, 40)


@pytest.mark.slow
def test_many_scenarios(engine):
    run(engine, 400, 60)
