"""Several models in one server: chosen by requests, loaded, replaced and unloaded while it runs."""

from __future__ import annotations

import base64
import gc
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from amcl_serve.http.app import create_app
from amcl_serve.http.shapes.models import ModelList, ModelLoad, ModelUnload
from amcl_serve.settings import Settings
from tests.amcl_serve.http.conftest import picture
from tests.fakes import D, make_bundle

PNG = {"content-type": "image/png"}
IMAGE = picture(1)
TEXT = base64.b64encode(IMAGE).decode()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A model folder with `alpha`, `beta` and `gamma`, each of its own vectors."""
    for seed, name in enumerate(("alpha", "beta", "gamma")):
        make_bundle(tmp_path / "models" / name, name=name, seed=seed)
    return tmp_path / "models"


@pytest.fixture
def client(models: Path, tmp_path: Path) -> Iterator[TestClient]:
    """A server of alpha and beta."""
    settings = Settings(
        model=("alpha", "beta"), model_dir=models, data_dir=tmp_path / "data", session_threads=1, decode_threads=1
    )
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


def app_of(client: TestClient) -> FastAPI:
    assert isinstance(client.app, FastAPI)
    return client.app


def embedding(response: Any) -> list[float]:
    assert response.status_code == 200, response.text
    vector: list[float] = response.json()["data"][0]["embedding"]
    return vector


def code(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def test_every_kind_of_body_chooses_the_model_to_embed_with(client: TestClient) -> None:
    def ways(name: str) -> list[Any]:
        return [
            client.post("/embed", params={"model": name}, content=IMAGE, headers=PNG),
            client.post("/embed", data={"model": name}, files={"files": ("a", IMAGE)}),
            client.post("/embed", params={"model": name}, files={"files": ("a", IMAGE)}),
            client.post("/embed", json={"model": name, "images": [TEXT]}),
            client.post("/embed", params={"model": "alpha"}, json={"model": name, "images": [TEXT]}),
        ]

    by_name = {}
    for name in ("alpha", "beta"):
        answers = ways(name)
        assert {answer.json()["model"] for answer in answers} == {name}
        by_name[name] = [embedding(answer) for answer in answers]
        assert all(vector == by_name[name][0] for vector in by_name[name])
    assert not np.allclose(by_name["alpha"][0], by_name["beta"][0])
    default = client.post("/embed", content=IMAGE, headers=PNG)
    assert (default.json()["model"], embedding(default)) == ("alpha", by_name["alpha"][0])
    for answer in ways("gamma"):
        assert code(answer) == (404, "model_not_found")
        assert "'alpha', 'beta'" in answer.json()["detail"]
    assert code(client.post("/embed", json={"model": "x" * 65, "images": [TEXT]})) == (422, "invalid_request")


def test_similarity_is_of_the_model_that_is_asked_for(client: TestClient) -> None:
    other = base64.b64encode(picture(2)).decode()
    scores = {}
    for name in ("alpha", "beta"):
        answers = [
            client.post("/similarity", json={"a": [TEXT], "b": [other], "model": name}),
            client.post("/similarity", params={"model": name}, json={"a": [TEXT], "b": [other]}),
            client.post(
                "/similarity", data={"model": name}, files=[("a", ("a", IMAGE)), ("b", ("b", picture(2)))]
            ),
        ]  # fmt: skip
        assert [answer.json()["model"] for answer in answers] == [name] * 3
        (scores[name],) = {answer.json()["data"][0]["score"] for answer in answers}
    assert scores["alpha"] != scores["beta"]
    default = client.post("/similarity", json={"a": [TEXT], "b": [other]}).json()
    assert default["data"][0]["score"] == scores["alpha"]


def test_a_collection_keeps_to_its_model(client: TestClient, models: Path) -> None:
    point = {"points": [{"id": 1, "image": TEXT}]}
    assert client.put("/collections/own", json={"vectors": {"distance": "Cosine"}}).status_code == 200
    assert client.put("/collections/own/points", params={"model": "beta"}, json=point).status_code == 200
    assert client.get("/collections/own").json()["result"]["model"]["name"] == "beta"
    # From now on beta embeds for it, whether or not a request says so.
    query = {"query": {"image": TEXT}, "with_vector": True}
    for params in ({}, {"model": "beta"}):
        (hit,) = client.post("/collections/own/points/query", params=params, json=query).json()["result"]["points"]
        assert hit["score"] == pytest.approx(1, abs=1e-5)
    batch = client.post("/collections/own/points/query/batch", json={"searches": [query]}).json()["result"]
    assert batch[0]["points"][0]["score"] == pytest.approx(1, abs=1e-5)
    assert client.put("/collections/own/points", json=point).status_code == 200
    refused = client.put("/collections/own/points", params={"model": "alpha"}, json=point)
    assert code(refused) == (409, "collection_mismatch")
    assert "embedded by beta" in refused.json()["detail"]
    assert code(client.post("/collections/own/points/query", params={"model": "gamma"}, json=query)) == (
        404, "model_not_found",
    )  # fmt: skip
    # A bundle of another digest under the same name is another model.
    make_bundle(models / "beta", name="beta", seed=7)
    client.post("/models/beta/load")
    assert code(client.post("/collections/own/points/query", json=query)) == (409, "collection_mismatch")


def test_models_lists_all_and_names_the_default(client: TestClient) -> None:
    listed = ModelList.model_validate(client.get("/models").json()).data
    assert [(model.name, model.default) for model in listed] == [("alpha", True), ("beta", False)]
    assert client.get("/models/beta").json()["default"] is False


def test_load_and_unload(client: TestClient, models: Path) -> None:
    loaded = ModelLoad.model_validate(client.post("/models/gamma/load").json())
    assert (loaded.outcome, loaded.model.name, loaded.model.default) == ("loaded", "gamma", False)
    vector = embedding(client.post("/embed", params={"model": "gamma"}, content=IMAGE, headers=PNG))
    assert client.post("/models/gamma/load").json()["outcome"] == "unchanged"
    make_bundle(models / "gamma", name="gamma", seed=8)
    replaced = client.post("/models/gamma/load").json()
    assert replaced["outcome"] == "replaced"
    assert replaced["model"]["digest"] != loaded.model.digest
    assert embedding(client.post("/embed", params={"model": "gamma"}, content=IMAGE, headers=PNG)) != vector
    ModelUnload.model_validate(client.post("/models/gamma/unload").json())
    assert code(client.get("/models/gamma")) == (404, "model_not_found")
    assert code(client.post("/models/gamma/unload")) == (404, "model_not_found")
    assert code(client.post("/models/alpha/unload")) == (409, "conflict")
    assert code(client.post("/models/delta/load")) == (404, "model_not_found")
    for path in ("/models/..%2Fbeta/load", "/models/%2Fetc/load", "/models/%2e%2e/load"):
        assert client.post(path).status_code == 404
    (models / "gamma" / "temperature.onnx").write_bytes(b"altered")
    failed = client.post("/models/gamma/load")
    assert code(failed) == (409, "load_failed")
    assert "bundle gamma: temperature.onnx" in failed.json()["detail"]
    assert str(models.parent) not in failed.text
    assert client.get("/readyz").status_code == 200


def test_a_swap_under_load_is_seen_by_nobody(client: TestClient, models: Path) -> None:
    """Every request is answered, each with the vector of the model whose digest it names."""
    answers: list[Any] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answers.append(client.post("/embed", params={"model": "beta"}, content=IMAGE, headers=PNG))

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    digests = [client.get("/models/beta").json()["digest"]]
    sessions = []
    try:
        for seed in (11, 12, 13):
            sessions.append(weakref.ref(app_of(client).state.server.registry.get("beta").encoder._session))
            make_bundle(models / "beta", name="beta", seed=seed)
            outcome = client.post("/models/beta/load").json()
            assert outcome["outcome"] == "replaced"
            digests.append(outcome["model"]["digest"])
    finally:
        stop.set()
        for asker in askers:
            asker.join()
    assert len(set(digests)) == 4
    assert {answer.status_code for answer in answers} == {200}
    vectors: dict[str, set[tuple[float, ...]]] = {digest: set() for digest in digests}
    for answer in answers:
        vectors[answer.json()["digest"]].add(tuple(np.round(embedding(answer), 5)))
    assert all(len(found) <= 1 for found in vectors.values())
    assert len(set.union(*vectors.values())) == sum(map(len, vectors.values())) > 1
    gc.collect()
    assert [session() for session in sessions] == [None] * 3


def test_a_request_that_failed_does_not_hold_its_model(client: TestClient) -> None:
    """A traceback refers to the frames it went through; the model waits for the last of them."""
    wrong = {"params": {"model": "beta"}, "headers": PNG}
    assert client.post("/embed", content=b"no image", **wrong).status_code == 415  # type: ignore[arg-type]
    assert client.post("/embed", params={"model": "beta"}, json={"images": ["?", "??"]}).status_code == 200
    pair = {"a": [TEXT], "b": ["?"], "model": "beta"}
    assert client.post("/similarity", json=pair).status_code == 400
    client.put("/collections/c", params={"model": "beta"}, json={"vectors": {"distance": "Dot"}})
    point = {"points": [{"id": 1, "image": "?"}]}
    assert client.put("/collections/c/points", params={"model": "beta"}, json=point).status_code == 400
    start = time.monotonic()
    assert client.post("/models/beta/unload").status_code == 200
    assert time.monotonic() - start < 20  # held models are given up after request_deadline, 30


def test_health_and_metrics_are_of_every_model(client: TestClient) -> None:
    client.post("/embed", params={"model": "beta"}, content=IMAGE, headers=PNG)
    text = client.get("/metrics").text
    for name in ("alpha", "beta"):
        assert f'amcl_queue_depth{{model="{name}"}} 0.0' in text
        assert f'name="{name}",precision="fp32",provider="CPUExecutionProvider"}} 1.0' in text
    assert 'amcl_batch_size_sum{model="beta"} 1.0' in text
    assert 'amcl_batch_size_sum{model="alpha"}' not in text
    portal = client.portal
    assert portal is not None
    portal.call(app_of(client).state.server.registry.get("beta").engine.stop)
    unready = client.get("/readyz")
    assert code(unready) == (503, "not_ready")
    assert "model beta" in unready.json()["detail"]
    assert client.post("/models/beta/load").json()["outcome"] == "replaced"
    assert client.get("/readyz").status_code == 200
    assert client.post("/models/beta/unload").status_code == 200
    text = client.get("/metrics").text
    assert 'amcl_queue_depth{model="beta"}' not in text
    assert 'name="beta"' not in text


def test_a_collection_is_as_long_as_the_features_of_the_model_it_is_made_for(client: TestClient, models: Path) -> None:
    made = client.put("/collections/c", params={"model": "beta"}, json={"vectors": {"distance": "Dot"}})
    assert made.status_code == 200
    assert client.get("/collections/c").json()["result"]["config"]["params"]["vectors"]["size"] == D
    missing = client.put("/collections/d", params={"model": "gamma"}, json={"vectors": {"distance": "Dot"}})
    assert code(missing) == (404, "model_not_found")
