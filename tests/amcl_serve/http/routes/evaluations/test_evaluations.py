"""/evaluations from the first request to the report, and all that is refused."""

from __future__ import annotations

import base64
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from amcl_serve.errors import UndecodableImage
from amcl_serve.evaluation import runner
from tests.amcl_serve.http.conftest import picture
from tests.amcl_serve.http.routes.evaluations.conftest import Gate, Serve, begin, job
from tests.amcl_serve.jobs import archives

ARCHIVE = archives.images(40)


def left(data: Path) -> list[str]:
    """What lies in the folder of the evaluations, but for the lock."""
    folder = data / "evaluations"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != "lock")


def test_an_archive_is_evaluated_to_the_end(serve: Serve, tmp_path: Path) -> None:
    client = serve()
    response = client.post("/evaluations", files={"archive": ("C:\\me\\mine.zip", ARCHIVE)}, data={"seed": "3"})
    assert (response.status_code, response.json()["status"]) == (202, "queued")
    place = response.headers["location"]
    assert place == f"/evaluations/{response.json()['id']}"
    found = job(client, response.json()["id"], "done", "failed")
    assert (found["status"], found["dataset"], found["images"], found["seed"]) == ("done", "mine.zip", 40, 3)
    assert found["created"] <= found["started"] <= found["ended"]
    assert found["result"]["protocol"] == found["protocol"] == "label_free"
    page = client.get(f"{place}/report")
    assert page.status_code == 200
    assert page.text.startswith("<!doctype html>")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "script-src" not in page.headers["content-security-policy"]
    listed = client.get("/evaluations").json()["data"]
    assert [each["id"] for each in listed] == [found["id"]]
    assert left(tmp_path / "data") == [f"{found['id']}/{name}" for name in ("job.json", "report.html", "result.json")]
    assert [client.delete(place).json()["outcome"] for _ in range(2)] == ["removed", "absent"]
    assert client.get(place).json()["code"] == "evaluation_not_found"
    assert left(tmp_path / "data") == []


def test_results_outlive_the_server(serve: Serve, quick: Gate) -> None:
    client = serve()
    name = begin(client, ARCHIVE)
    before = job(client, name, "done")
    page = client.get(f"/evaluations/{name}/report").content
    client = serve()
    assert client.get(f"/evaluations/{name}").json() == before
    assert client.get(f"/evaluations/{name}/report").content == page


def test_one_that_runs_is_cancelled_and_others_take_its_place(serve: Serve, gate: Gate, tmp_path: Path) -> None:
    client = serve()
    running, waiting, last = (begin(client, ARCHIVE) for _ in range(3))
    found = job(client, running, "running")
    assert client.get(f"/evaluations/{running}/report").json()["code"] == "evaluation_unfinished"
    assert client.delete(f"/evaluations/{waiting}").json()["outcome"] == "cancelled"
    assert job(client, waiting, "cancelled")["started"] is None
    assert client.delete(f"/evaluations/{running}").json()["outcome"] == "cancelled"
    found = job(client, running, "cancelled")
    assert (found["result"], found["error"]) == (None, None)
    assert found["progress"] == {"stage": "waiting for the test", "done": 1, "total": 2}
    gate.open.set()
    assert job(client, last, "done")
    names = (f"{each}/job.json" for each in (running, waiting))
    assert {*names, f"{last}/job.json"} <= set(left(tmp_path / "data"))
    assert not [name for name in left(tmp_path / "data") if name.startswith("incoming")]


def test_a_full_queue_refuses_and_keeps_nothing(serve: Serve, gate: Gate, tmp_path: Path) -> None:
    client = serve()
    job(client, begin(client, ARCHIVE), "running")
    for _ in range(4):
        begin(client, ARCHIVE)
    before = left(tmp_path / "data")
    response = client.post("/evaluations", files={"archive": ("a.zip", ARCHIVE)})
    assert (response.status_code, response.json()["code"]) == (429, "too_many_evaluations")
    assert int(response.headers["retry-after"]) > 0
    assert left(tmp_path / "data") == before
    assert 'amcl_evaluations_open{status="queued"} 4.0' in client.get("/metrics").text


def test_the_oldest_go(serve: Serve, quick: Gate) -> None:
    client = serve(max_evaluations=2)
    names = []
    for _ in range(4):
        names.append(begin(client, ARCHIVE))
        job(client, names[-1], "done")
    assert [each["id"] for each in client.get("/evaluations").json()["data"]] == names[:1:-1]


def test_others_are_answered_meanwhile(serve: Serve, gate: Gate) -> None:
    client = serve()
    name = begin(client, ARCHIVE)
    job(client, name, "running")
    for seed in range(20):
        assert client.post("/embed", content=picture(seed), headers={"content-type": "image/png"}).status_code == 200
    assert client.get(f"/evaluations/{name}").json()["status"] == "running"


def test_a_server_that_stops_says_that_it_interrupted(serve: Serve, gate: Gate, tmp_path: Path) -> None:
    client = serve()
    running, waiting = begin(client, ARCHIVE), begin(client, ARCHIVE)
    job(client, running, "running")
    client = serve()
    for name in (running, waiting):
        assert client.get(f"/evaluations/{name}").json()["status"] == "interrupted"
    assert left(tmp_path / "data") == sorted(f"{name}/job.json" for name in (running, waiting))


@pytest.mark.parametrize(
    ("error", "code"), [(RuntimeError("/root/secret"), "internal_error"), (UndecodableImage("it is no image"), "")]
)
def test_a_failure_says_why_and_tells_nothing_internal(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(runner, "run", fail)
    client = serve()
    name = begin(client, ARCHIVE)
    found = job(client, name, "failed", "done")
    assert found["error"]["code"] == (code or "undecodable_image")
    assert "secret" not in client.get(f"/evaluations/{name}").text
    assert job(client, begin(client, ARCHIVE), "failed")  # the next one has its turn


def test_a_collection_is_evaluated_by_its_thumbnails(serve: Serve) -> None:
    client = serve()
    points = [
        {"id": number, "image": text(number), "payload": {"kind": {"of": "ab"[number // 2 % 2]}} if number < 30 else {}}
        for number in range(40)
    ]
    for name, thumbnails in (("with", True), ("without", False)):
        client.put(f"/collections/{name}", json={"vectors": {"distance": "Cosine"}, "thumbnails": thumbnails})
        assert client.put(f"/collections/{name}/points", json={"points": points}).status_code == 200
    response = client.post("/evaluations", json={"collection": "with", "labels": "kind.of"})
    assert response.status_code == 202, response.text
    found = job(client, response.json()["id"], "done", "failed")
    assert (found["status"], found["dataset"], found["images"]) == ("done", "with", 30), found["error"]
    response = client.post("/evaluations", json={"collection": "without", "labels": "kind.of"})
    found = job(client, response.json()["id"], "done", "failed")
    assert (found["status"], found["protocol"]) == ("done", "vectors"), found["error"]
    sections = {section["name"]: section for section in found["result"]["sections"]}
    assert sections["knn"]["figures"][-1]["value"] > 0.5
    assert "needs pictures" in sections["pairs"]["missing"]
    assert found["result"]["provenance"]["model digest"] == found["digest"] != ""
    assert "needs pictures" in client.get(f"/evaluations/{found['id']}/report").text
    response = client.post("/evaluations", json={"collection": "without", "protocol": "labelled"})
    assert (response.status_code, "key of the payloads" in response.json()["detail"]) == (422, True)
    response = client.post("/evaluations", json={"collection": "with", "labels": "nothing"})
    assert (response.status_code, "'nothing'" in response.json()["detail"]) == (422, True)


def test_a_labelled_archive_has_its_folders_as_labels(serve: Serve) -> None:
    files = {f"{number % 3}/{number}.png": archives.drawing(number % 3, number + 1) for number in range(45)}
    client = serve()
    found = job(client, begin(client, archives.packed(files), seed=1), "done", "failed", seconds=60)
    assert (found["status"], found["protocol"], found["error"]) == ("done", "labelled", None)


def test_pairs_are_verified_and_missing_ones_named(serve: Serve, tmp_path: Path) -> None:
    client = serve()
    found = job(client, begin(client, archives.pairs(40)), "done", "failed", seconds=60)
    assert (found["status"], found["protocol"]) == ("done", "verification")
    client.delete(f"/evaluations/{found['id']}")
    response = client.post("/evaluations", files={"archive": ("mine.zip", archives.pairs(40, missing=2))})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert "pairs.csv, line 2: there is no image '0-1.png'" in response.json()["detail"]
    assert left(tmp_path / "data") == []


def tarred(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for each, of in (("good.png", tarfile.REGTYPE), (name, kind)):
            member = tarfile.TarInfo(each)
            member.type, member.linkname = of, link
            content = archives.drawing(1) if of == tarfile.REGTYPE else b""
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def bomb() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("large.png", bytes(30_000_000))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("archive", "status"),
    [
        (b"no archive", 422),
        (b"", 422),
        (ARCHIVE[: len(ARCHIVE) // 2], 422),
        (archives.packed({"readme.txt": b"no image"}), 422),
        (archives.packed({"../../../out.png": archives.drawing(1)}), 422),
        (archives.packed({"/tmp/out.png": archives.drawing(1)}), 422),
        (archives.packed({"..\\out.png": archives.drawing(1)}), 422),
        (tarred("../out.png"), 422),
        (tarred("link.png", tarfile.SYMTYPE, "/etc/passwd"), 422),
        (tarred("device.png", tarfile.CHRTYPE), 422),
        (bomb(), 413),
    ],
)
def test_a_hostile_archive_is_refused_and_nothing_is_written(
    serve: Serve, quick: Gate, tmp_path: Path, archive: bytes, status: int
) -> None:
    client = serve(max_archive_bytes=10_000_000)
    before = {path for path in tmp_path.rglob("*") if "collections" not in path.name}
    response = client.post("/evaluations", files={"archive": ("mine.zip", archive)})
    assert response.status_code == status, response.text
    assert str(tmp_path) not in response.text
    assert "/etc" not in response.text
    assert {path for path in tmp_path.rglob("*") if "collections" not in path.name} - before <= {
        tmp_path / "data" / "evaluations" / "incoming"
    }
    assert client.get("/evaluations").json()["data"] == []
    assert job(client, begin(client, ARCHIVE), "done", "failed", seconds=60)["status"] == "done"


def text(seed: int) -> str:
    return base64.b64encode(picture(seed)).decode()


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"model": "nowhere"}, 404, "model_not_found"),
        ({"against": "nowhere"}, 404, "model_not_found"),
        ({"against": "tiny"}, 422, "invalid_request"),
        ({"labels": "species"}, 422, "invalid_request"),
        ({"limit": "1"}, 422, "invalid_request"),
        ({"seed": "-1"}, 422, "invalid_request"),
        ({"protocol": "guess"}, 422, "invalid_request"),
        ({"collection": "a"}, 422, "invalid_request"),
        ({"protocol": "verification"}, 422, "invalid_request"),
        ({"protocol": "labelled"}, 422, "invalid_request"),
    ],
)
def test_what_is_asked_wrongly_is_refused(
    serve: Serve, tmp_path: Path, fields: dict[str, str], status: int, code: str
) -> None:
    response = serve().post("/evaluations", files={"archive": ("a.zip", ARCHIVE)}, data=fields)
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert left(tmp_path / "data") == []


def test_other_bodies_are_refused(serve: Serve) -> None:
    client = serve(max_archive_bytes=4096)
    assert client.post("/evaluations", content=b"x", headers={"content-type": "text/plain"}).status_code == 415
    assert client.post("/evaluations", json={"collection": "none"}).json()["code"] == "collection_not_found"
    assert client.post("/evaluations", json={}).status_code == 422
    assert client.post("/evaluations", files={"other": ("a.zip", b"x")}).status_code == 422
    missing = client.post("/evaluations", files={"archive": ("", b"")}, data={"seed": "1"})
    assert missing.status_code in (400, 422)
    both = client.post("/evaluations", files=[("archive", ("a.zip", b"x")), ("archive", ("b.zip", b"x"))])
    assert (both.status_code, both.json()["code"]) == (413, "too_many_items")
    large = client.post("/evaluations", files={"archive": ("a.zip", bytes(200_000))})
    assert (large.status_code, large.json()["code"]) == (413, "body_too_large")


def test_an_archive_may_be_larger_than_other_bodies(serve: Serve, quick: Gate) -> None:
    client = serve(max_body_bytes=2048, max_inflight_bytes=2048)
    assert len(ARCHIVE) > 4096
    assert job(client, begin(client, ARCHIVE), "done", "failed")["status"] == "done"
    refused = client.post("/embed", files={"files": ("a.png", bytes(4096))})
    assert refused.json()["code"] == "body_too_large"
