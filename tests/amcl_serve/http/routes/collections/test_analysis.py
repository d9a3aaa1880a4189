"""…/duplicates, …/outliers and …/sample: lines that say what a collection's pictures are to each other."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from pydantic import BaseModel
from starlette.testclient import TestClient

from amcl_serve.http.app import create_app
from amcl_serve.http.shapes.analysis import DuplicatesLine, OutliersLine, SampleLine
from amcl_serve.metrics.calibration import probability
from benchmarks.processes import Server, serving
from tests.amcl_serve.http.connections import request as raw
from tests.amcl_serve.http.routes.collections.asking import (
    POINTS,
    URL,
    files,
    make_settings,
    ok,
    put_images,
    refused,
    unit,
)
from tests.fakes import CALIBRATION, make_bundle
from tests.images import photo

pytestmark = pytest.mark.sqlite_only
DUPLICATES, OUTLIERS, SAMPLE = f"{URL}/duplicates", f"{URL}/outliers", f"{URL}/sample"


def lines(response: Any, shape: type[BaseModel]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The lines but those of progress, and the result in the last."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    found = [json.loads(line) for line in response.text.splitlines()]
    for line in found:
        shape.model_validate(line)
    *others, last = found
    assert set(last) == {"result", "status", "time"}, last
    assert last["status"] == "ok"
    return [line for line in others if "progress" not in line], last["result"]


def put(client: TestClient, points: list[dict[str, Any]], url: str = POINTS) -> None:
    ok(client.put(url, json={"points": points}))


def test_groups_of_near_duplicates(client: TestClient) -> None:
    put(
        client,
        [
            {"id": 1, "vector": unit(1), "payload": {"path": "a", "sha256": "x"}},
            {"id": 2, "vector": unit(1, 0.1), "payload": {"path": "b", "sha256": "y"}},
            {"id": 3, "vector": unit(0, 1), "payload": {"path": "c", "sha256": "x"}},
            {"id": 4, "vector": unit(1, 0.05), "payload": {}},
        ],
    )
    found, result = lines(client.post(DUPLICATES, json={"cosine": 0.99, "with_payload": ["path"]}), DuplicatesLine)
    (group,) = (line["group"] for line in found)
    assert (group["number"], group["size"]) == (0, 3)
    assert [(point["id"], point["payload"]) for point in group["points"]] == [
        (1, {"path": "a"}),
        (2, {"path": "b"}),
        (4, {}),
    ]
    assert [point["score"] for point in group["points"]] == pytest.approx([0.99875] * 3, abs=1e-4)
    assert result == {"points": 4, "groups": 1, "duplicates": 2, "cosine": 0.99}
    put(client, [{"id": 5, "vector": unit(0, 1)}])
    client.post(f"{POINTS}/delete", json={"points": [2]})
    found, result = lines(client.post(DUPLICATES, json={"cosine": 0.99}), DuplicatesLine)
    assert [[point["id"] for point in line["group"]["points"]] for line in found] == [[1, 4], [3, 5]]
    where = {"must": [{"has_id": [1, 3, 4]}]}
    found, result = lines(client.post(DUPLICATES, json={"cosine": 0.99, "filter": where}), DuplicatesLine)
    assert [[point["id"] for point in line["group"]["points"]] for line in found] == [[1, 4]]
    assert result["points"] == 3
    found, result = lines(client.post(DUPLICATES, json={"hash": "sha256"}), DuplicatesLine)
    assert [line["group"]["points"] for line in found] == [[{"id": 1}, {"id": 3}]]
    assert result["cosine"] is None


def test_a_long_group_comes_in_several_lines(client: TestClient) -> None:
    put(client, [{"id": number, "vector": unit(1)} for number in range(600)])
    found, result = lines(client.post(DUPLICATES, json={"cosine": 1}), DuplicatesLine)
    assert {(line["group"]["number"], line["group"]["size"]) for line in found} == {(0, 600)}
    assert [point["id"] for line in found for point in line["group"]["points"]] == list(range(600))
    assert len(found) > 1
    assert result["duplicates"] == 599


def test_leaks(client: TestClient) -> None:
    ok(client.put("/collections/other", json={"vectors": {"distance": "Dot"}}))
    put(client, [{"id": 1, "vector": unit(1), "payload": {"h": "x"}}, {"id": 2, "vector": unit(0, 1)}])
    other = [{"id": 7, "vector": unit(9), "payload": {"h": "y"}}, {"id": 8, "vector": unit(0, 0, 1)}]
    put(client, [*other, {"id": 9, "vector": unit(2, 0.2), "payload": {"h": "x"}}], "/collections/other/points")
    found, result = lines(client.post(DUPLICATES, json={"cosine": 0.99, "against": "other"}), DuplicatesLine)
    (leak,) = (line["leak"] for line in found)
    assert leak["id"] == 1
    assert [match["id"] for match in leak["matches"]] == [7, 9]
    assert [match["score"] for match in leak["matches"]] == pytest.approx([1, 0.99504], abs=1e-5)
    assert result == {"points": 2, "against": 3, "leaks": 1, "pairs": 2, "cosine": 0.99}
    found, result = lines(
        client.post(DUPLICATES, json={"hash": "h", "against": "other", "with_payload": True}), DuplicatesLine
    )
    assert [line["leak"] for line in found] == [
        {"id": 1, "payload": {"h": "x"}, "matches": [{"id": 9, "payload": {"h": "x"}}]}
    ]
    ok(client.put("/collections/small", json={"vectors": {"size": 3, "distance": "Dot"}}))
    refused(client.post(DUPLICATES, json={"cosine": 0.9, "against": "small"}), 409, "collection_mismatch", "of size 3")
    refused(client.post(DUPLICATES, json={"cosine": 0.9, "against": "none"}), 404, "collection_not_found", "'none'")
    ok(client.post("/collections/aliases", json={"actions": [
        {"create_alias": {"alias_name": "same", "collection_name": "photos"}}]}))  # fmt: skip
    refused(client.post(DUPLICATES, json={"cosine": 0.9, "against": "same"}), 422, "invalid_request", "another")


def test_outliers_and_a_diverse_subset(client: TestClient) -> None:
    rng = np.random.default_rng(0)
    near = [{"id": i, "vector": unit(1, *(0.1 * rng.normal(size=3))), "payload": {"i": i}} for i in range(30)]
    put(client, [*near, {"id": 99, "vector": unit(-1), "payload": {"i": 99}}])
    found, result = lines(client.post(OUTLIERS, json={"limit": 3, "with_payload": True}), OutliersLine)
    points = [line["point"] for line in found]
    assert (points[0]["id"], points[0]["payload"]) == (99, {"i": 99})
    assert [point["score"] for point in points] == sorted(point["score"] for point in points)
    assert len(points) == 3
    assert result == {"points": 31, "neighbours": 10}
    found, result = lines(client.post(SAMPLE, json={"limit": 2}), SampleLine)
    points = [line["point"] for line in found]
    assert points[0]["distance"] is None
    assert (points[1]["id"], points[1]["distance"]) == (99, pytest.approx(2, abs=0.1))
    assert 0 < result["radius"] < 0.2
    where = {"must_not": [{"has_id": [99]}]}
    found, result = lines(client.post(SAMPLE, json={"limit": 100, "filter": where}), SampleLine)
    assert {line["point"]["id"] for line in found} == set(range(30))
    assert result == {"points": 30, "radius": 0.0}


@pytest.mark.parametrize(
    ("url", "body", "status", "code", "says"),
    [
        (DUPLICATES, {}, 422, "invalid_request", "one of cosine, probability and hash"),
        (DUPLICATES, {"cosine": 0.9, "hash": "a"}, 422, "invalid_request", "one of cosine, probability and hash"),
        (DUPLICATES, {"cosine": 1.1}, 422, "invalid_request", "cosine"),
        (DUPLICATES, {"cosine": 0}, 422, "invalid_request", "cosine"),
        (DUPLICATES, {"probability": 1}, 422, "invalid_request", "probability"),
        (DUPLICATES, {"hash": 'a"b'}, 422, "invalid_request", "hash"),
        (DUPLICATES, {"cosine": 0.9, "filter": {"must": [{}]}}, 422, "invalid_request", "filter.must[0]"),
        (DUPLICATES.replace("photos", "none"), {"cosine": 0.9}, 404, "collection_not_found", "'none'"),
        (OUTLIERS, {"neighbours": 0}, 422, "invalid_request", "neighbours"),
        (OUTLIERS, {"limit": 1001}, 422, "invalid_request", "limit"),
        (OUTLIERS.replace("photos", "none"), {}, 404, "collection_not_found", "'none'"),
        (SAMPLE, {"limit": 0}, 422, "invalid_request", "limit"),
        (SAMPLE, {"k": 3}, 422, "invalid_request", "k"),
        (SAMPLE.replace("photos", "none"), {}, 404, "collection_not_found", "'none'"),
    ],
)
def test_what_is_refused(client: TestClient, url: str, body: Any, status: int, code: str, says: str) -> None:
    refused(client.post(url, json=body), status, code, says)


def test_an_error_on_the_way_is_the_last_line(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    put(client, [{"id": number, "vector": unit(1, number / 100)} for number in range(20)])
    monkeypatch.setattr("amcl_serve.vectors.analysis.known.MAX_PAIRS", 5)
    response = client.post(DUPLICATES, json={"cosine": 0.5})
    assert response.status_code == 200
    last = json.loads(response.text.splitlines()[-1])
    assert (last["code"], last["status"]) == ("invalid_request", {"error": last["detail"]})
    assert "higher threshold" in last["detail"]
    monkeypatch.setattr("amcl_serve.vectors.analysis.known.grown", None)
    last = json.loads(client.post(DUPLICATES, json={"cosine": 0.5}).text.splitlines()[-1])
    assert last["code"] == "internal_error"


def test_by_probability_with_heads(client: TestClient) -> None:
    """A model's calibration is of its heads' score, and points have none; other points are of no model."""
    put(client, [{"id": 1, "vector": unit(1)}])
    refused(client.post(DUPLICATES, json={"probability": 0.9}), 422, "invalid_request", "no model of this server")
    put_images(client, 1, 2)
    refused(client.post(DUPLICATES, json={"probability": 0.9}), 422, "invalid_request", "of its heads")


@pytest.fixture(params=["without heads", "with heads"])
def calibrated(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TestClient]:
    """A server whose model is calibrated for the cosine of its features."""
    heads = request.param == "with heads"
    bundle = make_bundle(tmp_path / "plain", heads=heads, calibrated_features=heads)
    with TestClient(create_app(make_settings(bundle, tmp_path / "data"))) as client:
        ok(client.put(URL, json={"vectors": {"distance": "Cosine"}}))
        yield client


def test_by_probability(calibrated: TestClient) -> None:
    points = json.dumps([{"id": number} for number in range(3)])
    ok(calibrated.put(POINTS, files=files(photo(1), photo(1), photo(2)), data={"points": points}))
    found, result = lines(calibrated.post(DUPLICATES, json={"probability": 0.7}), DuplicatesLine)
    (group,) = (line["group"] for line in found)
    fitted = {"slope": CALIBRATION.slope, "intercept": CALIBRATION.intercept}
    assert probability(result["cosine"], **fitted) == pytest.approx(0.7)
    for point in group["points"]:
        assert point["probability"] == pytest.approx(float(probability(point["score"], **fitted)), abs=1e-6)
        assert point["probability"] >= 0.7
    most = float(probability(1.0, **fitted))
    refused(calibrated.post(DUPLICATES, json={"probability": (1 + most) / 2}), 422, "invalid_request", f"{most:.6f}")
    least = float(probability(0.0, **fitted))
    refused(calibrated.post(DUPLICATES, json={"probability": least / 2}), 422, "invalid_request", "ask for more")


def test_by_probability_without_a_calibration(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "plain", heads=False, calibrated=False)
    settings = make_settings(bundle, tmp_path / "data")
    with TestClient(create_app(settings)) as client:
        ok(client.put(URL, json={"vectors": {"distance": "Cosine"}}))
        put_images(client, 1)
        refused(client.post(DUPLICATES, json={"probability": 0.7}), 422, "invalid_request", "is not calibrated")
    shutil.rmtree(bundle)
    other = make_bundle(tmp_path / "other", heads=False, seed=1)
    with TestClient(create_app(make_settings(other, tmp_path / "data"))) as client:
        refused(client.post(DUPLICATES, json={"probability": 0.7}), 422, "invalid_request", "is not loaded")


LONG = {"limit": 10_000}  # the sample of all: reads 64 MiB 8,192 times, half a minute at 16 GB/s


def fill(server: Server) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as http:
        vectors = np.random.default_rng(0).integers(-9, 10, (8192, 2048))  # short as JSON
        assert http.put("/collections/wide", json={"vectors": {"size": 2048, "distance": "Cosine"}}).is_success
        for first in range(0, len(vectors), 256):
            points = [{"id": first + i, "vector": v} for i, v in enumerate(vectors[first : first + 256])]
            content = orjson.dumps({"points": points}, option=orjson.OPT_SERIALIZE_NUMPY)
            headers = {"content-type": "application/json"}
            assert http.put("/collections/wide/points", content=content, headers=headers).is_success
        assert http.put("/collections/few", json={"vectors": {"size": 1, "distance": "Cosine"}}).is_success
        assert http.put("/collections/few/points", json={"points": [{"id": 1, "vector": [1]}]}).is_success


def test_a_stop_ends_it(tiny_bundle: Path, tmp_path: Path) -> None:
    said: list[str] = []

    def ask(url: str) -> None:
        said.extend(httpx.post(f"{url}/collections/wide/sample", json=LONG, timeout=60).text.splitlines())

    with serving(tiny_bundle, tmp_path, "--analysis-threads", "1") as server:
        fill(server)
        client = threading.Thread(target=ask, args=(server.url,))
        client.start()
        time.sleep(0.5)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        assert time.monotonic() - began < 10
        client.join()
        assert "Traceback" not in server.log.read_text()
    assert json.loads(said[-1])["code"] == "not_ready"


@pytest.fixture(scope="module")
def process(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with so many points that to compare all takes longer than it is given."""
    flags = ("--analysis-deadline", "3", "--analysis-threads", "1")
    with serving(tiny_bundle, tmp_path_factory.mktemp("server"), *flags) as server:
        fill(server)
        yield server


def test_work_that_takes_too_long_says_how_far_it_is_and_ends(process: Server) -> None:
    began = time.monotonic()
    found = httpx.post(f"{process.url}/collections/wide/sample", json=LONG, timeout=60).text.splitlines()
    assert time.monotonic() - began < 10
    shares = [json.loads(line)["progress"] for line in found[:-1]]
    assert shares == sorted(shares) != []
    assert json.loads(found[-1])["code"] == "deadline_exceeded"


def test_one_whose_client_has_left_ends_and_others_come_to_their_turn(process: Server) -> None:
    body = json.dumps(LONG).encode()
    head = raw("/collections/wide/sample", body, "POST", "content-type: application/json")
    waiting = []
    for _ in range(6):
        waiting.append(socket.create_connection(("127.0.0.1", process.port)))
        waiting[-1].sendall(head)
    time.sleep(0.5)
    assert httpx.get(f"{process.url}/readyz", timeout=5).status_code == 200
    for connection in waiting:
        connection.close()
    began = time.monotonic()
    answer = httpx.post(f"{process.url}/collections/few/sample", json={}, timeout=30)
    assert json.loads(answer.text.splitlines()[-1])["result"] == {"points": 1, "radius": 0.0}
    assert time.monotonic() - began < 6  # six of them, one after another, would take eighteen seconds
