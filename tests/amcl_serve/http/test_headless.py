"""A server of three models: one trained here, one without heads that is calibrated, one without heads that is not."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from amcl_serve.http.app import create_app
from amcl_serve.http.shapes.similarity import CrossAnswer, PairsAnswer
from amcl_serve.settings import Settings
from tests.amcl_serve.http.conformance import conforms
from tests.amcl_serve.http.conftest import picture
from tests.fakes import CALIBRATION, HEAD_DIM, C, D, make_bundle

IMAGES = [picture(seed) for seed in range(3)]
TEXTS = [base64.b64encode(image).decode() for image in IMAGES]
URIS = [f"data:image/png;base64,{text}" for text in TEXTS]
MODELS = ("heads", "calibrated", "bare")
HEADLESS = MODELS[1:]
PNG = {"content-type": "image/png"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("three")
    for name in MODELS:
        make_bundle(folder / name, name=name, heads=name == "heads", calibrated=name != "bare")
    settings = Settings(
        model=MODELS, model_dir=folder, data_dir=folder / "data", session_threads=1, decode_threads=1, max_items=4
    )
    app = create_app(settings)
    with TestClient(app, raise_server_exceptions=False) as client:
        client.event_hooks["response"].append(conforms(app.openapi()))
        yield client


def features(client: TestClient, model: str) -> np.ndarray[Any, Any]:
    answer = client.post("/embed", json={"images": TEXTS, "model": model}).json()
    assert (answer["model"], answer["dim"]) == (model, D)
    return np.array([item["embedding"] for item in answer["data"]])


def unit(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("name", MODELS)
def test_each_model_embeds(client: TestClient, name: str) -> None:
    found = features(client, name)
    assert found.shape == (3, D)
    npy = client.post(
        "/embed", params={"model": name}, content=IMAGES[0], headers=PNG | {"accept": "application/x-npy"}
    )
    assert npy.content.startswith(b"\x93NUMPY")


def test_each_embeds_by_its_own_card(client: TestClient) -> None:
    """The same weights, but another filter and crop."""
    np.testing.assert_array_equal(features(client, "calibrated"), features(client, "bare"))
    assert not np.allclose(features(client, "heads"), features(client, "bare"), atol=1e-3)


@pytest.mark.parametrize("name", HEADLESS)
@pytest.mark.parametrize("outputs", [["heads"], ["features", "heads"]])
def test_heads_of_a_model_that_has_none_are_refused(client: TestClient, name: str, outputs: list[str]) -> None:
    answer = client.post("/embed", json={"images": TEXTS, "model": name, "outputs": outputs})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["detail"] == f"the model {name} has no heads: ask for its features"
    query = client.post("/embed", params={"model": name, "outputs": outputs}, content=IMAGES[0], headers=PNG)
    assert query.json()["detail"] == answer.json()["detail"]
    ours = client.post("/embed", json={"images": TEXTS, "model": "heads", "outputs": ["heads"]}).json()
    assert np.shape(ours["data"][0]["heads"]) == (C, HEAD_DIM)


@pytest.mark.parametrize("name", MODELS)
def test_each_model_scores_pairs(client: TestClient, name: str) -> None:
    response = client.post("/similarity", json={"a": TEXTS[:2], "b": TEXTS[1:], "model": name})
    assert response.status_code == 200
    PairsAnswer.model_validate(response.json())
    rows = unit(features(client, name))
    for pair, a, b in zip(response.json()["data"], rows[:2], rows[1:], strict=True):
        assert pair["feature_similarity"] == pytest.approx(float(a @ b), abs=1e-6)
        if name == "heads":
            assert len(pair["head_similarity"]) == len(pair["temperature"]) == C
            assert pair["uncertainty"] is not None
            continue
        assert pair["score"] == pair["feature_similarity"]
        assert [pair[key] for key in ("head_similarity", "temperature", "uncertainty")] == [None] * 3
        if name == "bare":
            assert (pair["probability"], pair["same"]) == (None, None)
        else:
            p = 1 / (1 + math.exp(-(CALIBRATION.slope * pair["score"] + CALIBRATION.intercept)))
            assert pair["probability"] == pytest.approx(p, abs=1e-5)
            assert pair["same"] is (p >= CALIBRATION.threshold)


@pytest.mark.parametrize("name", MODELS)
def test_each_model_scores_every_a_with_every_b(client: TestClient, name: str) -> None:
    body = {"a": TEXTS[:2], "b": [*TEXTS, base64.b64encode(b"?").decode()], "mode": "cross", "model": name}
    cross = client.post("/similarity", json=body).json()
    CrossAnswer.model_validate(cross)
    assert [error["index"] for error in cross["errors"]] == [3]
    data = cross["data"]
    assert (data["probability"] is None) == (name == "bare")
    for row in range(2):
        pairs = client.post("/similarity", json={"a": [TEXTS[row]] * 3, "b": TEXTS, "model": name}).json()["data"]
        for key in ("score", "feature_similarity", "probability"):
            if data[key] is not None:
                assert data[key][row] == [*[pytest.approx(pair[key], abs=1e-5) for pair in pairs], None]


@pytest.mark.parametrize("name", MODELS)
def test_each_model_answers_the_other_protocols(client: TestClient, name: str) -> None:
    expected = unit(features(client, name))
    openai = client.post("/v1/embeddings", json={"model": name, "input": URIS}).json()
    np.testing.assert_allclose([item["embedding"] for item in openai["data"]], expected, atol=1e-6)
    cohere = client.post("/v2/embed", json={"model": name, "images": URIS}).json()
    np.testing.assert_allclose(cohere["embeddings"]["float"], expected, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_the_inference_protocol_lists_what_there_is(client: TestClient, name: str) -> None:
    said = [output["name"] for output in client.get(f"/v2/models/{name}").json()["outputs"]]
    assert said == (["features", "heads"] if name == "heads" else ["features"])
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": TEXTS[:1]}
    found = client.post(f"/v2/models/{name}/infer", json={"inputs": [tensor]}).json()["outputs"]
    assert [output["name"] for output in found] == said
    np.testing.assert_allclose(found[0]["data"], features(client, name)[0], atol=1e-6)
    asked = client.post(f"/v2/models/{name}/infer", json={"inputs": [tensor], "outputs": [{"name": "heads"}]})
    assert asked.status_code == (200 if name == "heads" else 422)
    if name != "heads":
        assert asked.json()["error"] == f"the model {name} has no heads: ask for its features"


def test_models_say_what_they_are(client: TestClient) -> None:
    listed = {model["name"]: model for model in client.get("/models").json()["data"]}
    assert {name: (listed[name]["heads"], listed[name]["head_dim"]) for name in MODELS} == {
        "heads": (C, HEAD_DIM),
        "calibrated": (0, 0),
        "bare": (0, 0),
    }
    card = client.get("/models/bare").json()
    assert card["temperature"] is card["calibration"] is None
    assert (card["input"]["interpolation"], card["input"]["crop"]) == ("bicubic", 0.875)
    assert card["parity"]["fp32"]["heads_max_abs"] is None
    assert client.get("/models/heads").json()["temperature"]["kind"] == "adaptive"


def test_collections_of_a_headless_model(client: TestClient) -> None:
    assert client.put(
        "/collections/photos", params={"model": "bare"}, json={"vectors": {"distance": "Cosine"}}
    ).is_success
    points = [{"id": index, "image": uri} for index, uri in enumerate(URIS)]
    assert client.put("/collections/photos/points", params={"model": "bare"}, json={"points": points}).is_success
    found = client.post("/collections/photos/points/query", json={"query": {"image": URIS[1]}}).json()["result"][
        "points"
    ]
    assert found[0]["id"] == 1
    assert found[0]["score"] == pytest.approx(1, abs=1e-5)


def test_a_headless_default_model_describes_itself(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "only", name="only", heads=False)
    settings = Settings(model=str(bundle), data_dir=tmp_path / "data", session_threads=1, decode_threads=1)
    app: FastAPI = create_app(settings)
    with TestClient(app) as client:
        assert client.get("/v1/describe").json()["dimension"] == D
        kept = client.post("/v1/embed/images/bytes", files=[("files", ("a.png", IMAGES[0]))]).json()
        np.testing.assert_allclose(kept["embeddings"], unit(features(client, "only"))[:1], atol=1e-6)
