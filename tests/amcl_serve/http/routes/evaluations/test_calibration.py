"""POST /models/{name}/calibrate: another probability, from then on, until it is undone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.amcl_serve.http.routes.evaluations.conftest import Serve
from tests.amcl_serve.jobs import archives

ARCHIVE = archives.pairs(60)


def calibrate(client: TestClient, archive: bytes = ARCHIVE, **fields: object) -> Any:
    return client.post("/models/tiny/calibrate", files={"archive": ("mine.zip", archive)}, data=fields)


def probability(client: TestClient) -> Mapping[str, Any]:
    pair = [("a", ("a", archives.drawing(1, 1))), ("b", ("b", archives.drawing(2, 1)))]
    scored: dict[str, Any] = client.post("/similarity", files=pair).json()["data"][0]
    return scored


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_calibration_holds_until_it_is_undone(serve: Serve, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle, client = files(tiny_bundle), serve()
    before = probability(client)
    response = calibrate(client, seed=1)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert (answer["fitted"], answer["held_out"], answer["left_out"]) == (60, 60, 0)
    assert answer["data_digest"] == "sha256:" + hashlib.sha256(ARCHIVE).hexdigest()
    assert answer["after"]["expected_calibration_error"] < answer["before"]["expected_calibration_error"]
    assert answer["threshold"]["by"] == "probability"
    assert answer["threshold"]["probability"] == pytest.approx(0.5)
    after = probability(client)
    assert after["score"] == before["score"]
    assert after["probability"] != before["probability"]
    client = serve()  # again
    assert probability(client) == after
    card = client.get("/models/tiny").json()
    assert card["calibration"] == answer["calibration"]
    assert card["own_calibration"]["data_digest"] == answer["data_digest"]
    outcomes = [client.delete("/models/tiny/calibration").json() for _ in range(2)]
    assert [each["outcome"] for each in outcomes] == ["removed", "absent"]
    assert probability(client) == before
    assert probability(serve()) == before
    assert files(tiny_bundle) == bundle
    assert {path.name for path in (tmp_path / "data" / "evaluations").iterdir()} == {"lock"}


@pytest.mark.parametrize(
    ("fields", "by"),
    [
        ({"false_accept_rate": 0.4}, "false_accept_rate"),
        ({"false_accept_cost": 5, "false_reject_cost": 1}, "cost"),
    ],
)
def test_the_threshold_follows_what_is_wanted(serve: Serve, fields: dict[str, float], by: str) -> None:
    client = serve()
    answer = calibrate(client, **fields).json()
    threshold = answer["threshold"]
    assert threshold["by"] == by
    assert answer["calibration"]["threshold"] == pytest.approx(threshold["probability"])
    for share in (threshold["false_accept_rate"], threshold["false_reject_rate"]):
        assert share["low"] <= share["value"] <= share["high"]
        assert share["n"] == 30


def test_pairs_with_a_damaged_image_are_left_out(serve: Serve) -> None:
    answer = calibrate(serve(), archives.pairs(60, damaged=5)).json()
    assert (answer["left_out"], answer["fitted"] + answer["held_out"]) == (10, 110)


def test_folders_make_pairs(serve: Serve) -> None:
    packed = archives.packed(
        {f"thing {kind}/{copy}.png": archives.drawing(kind, copy + 1) for kind in range(12) for copy in range(5)}
    )
    answer = calibrate(serve(), packed).json()
    assert answer["fitted"] + answer["held_out"] == 120


@pytest.mark.parametrize(
    ("archive", "fields", "said"),
    [
        (archives.pairs(10), {}, "20 of each are needed"),
        (archives.images(30), {}, "neither pairs.csv nor all images in folders"),
        (archives.pairs(60, missing=1), {}, "pairs.csv, line 2: there is no image '0-1.png'"),
        (ARCHIVE, {"false_accept_rate": 0.001}, "cannot tell a false-accept rate"),
        (ARCHIVE, {"false_accept_rate": 0.1, "false_accept_cost": 1}, "not by both"),
        (ARCHIVE, {"false_accept_cost": 1}, "go together"),
        (ARCHIVE, {"false_accept_rate": 1.5}, "less than 1"),
    ],
)
def test_what_does_not_suffice_changes_nothing(
    serve: Serve, archive: bytes, fields: dict[str, object], said: str
) -> None:
    client = serve()
    before = probability(client)
    response = calibrate(client, archive, **fields)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request"), response.text
    assert said in response.json()["detail"]
    assert probability(client) == before
    assert client.get("/models/tiny").json()["own_calibration"] is None


def test_other_models_and_bodies_are_refused(serve: Serve) -> None:
    client = serve()
    assert client.post("/models/none/calibrate", files={"archive": ("a.zip", ARCHIVE)}).status_code == 404
    assert client.delete("/models/none/calibration").status_code == 404
    assert client.post("/models/tiny/calibrate", json={}).status_code == 415
