from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.testclient import TestClient

from amcl_serve.errors import BundleError
from amcl_serve.http.app import create_app
from amcl_serve.http.server import server_in
from amcl_serve.http.shapes.models import ModelDetail, ModelList
from amcl_serve.settings import Settings
from tests.amcl_serve.http.conftest import picture
from tests.fakes import HEAD_DIM, C, D, make_bundle

SNAPSHOT = Path(__file__).with_name("openapi.json")
PNG = {"content-type": "image/png"}


def app_of(client: TestClient) -> FastAPI:
    assert isinstance(client.app, FastAPI)
    return client.app


def test_health(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for route in ("/livez", "/readyz", "/healthz"):
        response = client.get(route)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})
    engine = app_of(client).state.server.registry.get().engine
    monkeypatch.setattr(type(engine), "healthy", property(lambda _: False))
    assert client.get("/livez").status_code == 200
    for route in ("/readyz", "/healthz"):
        response = client.get(route)
        assert (response.status_code, response.json()["code"]) == (503, "not_ready")


def test_models(client: TestClient) -> None:
    (summary,) = ModelList.model_validate(client.get("/models").json()).data
    assert (summary.name, summary.dim, summary.heads, summary.head_dim) == ("tiny", D, C, HEAD_DIM)
    assert (summary.precision, summary.provider) == ("fp32", "CPUExecutionProvider")
    for name in ("tiny", "default"):
        raw = client.get(f"/models/{name}")
        detail = ModelDetail.model_validate(raw.json())
        assert detail.name == "tiny"
        assert detail.calibration is not None
        assert detail.metrics["knn"].value == 0.5
        assert "config" not in raw.json()
    missing = client.get("/models/other")
    assert (missing.status_code, missing.json()["code"]) == (404, "model_not_found")
    assert "'tiny'" in missing.json()["detail"]


def test_metrics(settings: Settings, tmp_path: Path) -> None:
    app = create_app(settings.model_copy(update={"data_dir": tmp_path}))
    with TestClient(app, raise_server_exceptions=False) as client:
        client.post(
            "/embed", files=[("files", ("a", picture(1))), ("files", ("b", picture(2))), ("files", ("c", b"?"))]
        )
        client.post("/embed", content=b"", headers=PNG)
        client.post("/embed", content=b" " * 100_000, headers=PNG)
        client.get("/models/tiny")
        client.get("/made-up-by-anyone")
        text = client.get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert lines['amcl_requests_total{method="POST",route="/embed",status="200"}'] == "1.0"
    assert lines['amcl_requests_total{method="POST",route="/embed",status="400"}'] == "1.0"
    assert lines['amcl_requests_total{method="POST",route="unmatched",status="413"}'] == "1.0"
    assert lines['amcl_requests_total{method="GET",route="/models/{name}",status="200"}'] == "1.0"
    assert lines['amcl_requests_total{method="GET",route="unmatched",status="404"}'] == "1.0"
    assert "made-up" not in text
    for reason in ("unsupported_image", "empty_image", "body_too_large", "not_found"):
        assert lines[f'amcl_rejected_total{{reason="{reason}"}}'] == "1.0"
    for stage in ("queue", "decode", "inference", "encode"):
        assert lines[f'amcl_stage_seconds_count{{stage="{stage}"}}'] == "1.0"
    assert lines['amcl_batch_size_sum{model="tiny"}'] == "2.0"
    assert float(lines['amcl_batch_seconds_sum{model="tiny"}']) > 0
    assert lines['amcl_queue_depth{model="tiny"}'] == "0.0"
    assert lines["amcl_requests_in_flight"] == "1.0"  # this one
    assert any(line.startswith('amcl_model_info{digest="sha256:') and 'name="tiny"' in line for line in lines)


def test_metrics_of_a_bug_count_as_500(settings: Settings) -> None:
    app = create_app(settings)
    app.add_api_route("/bug", lambda: 1 / 0)
    client = TestClient(app, raise_server_exceptions=False)
    assert client.get("/bug").status_code == 500
    text = client.get("/metrics").text
    assert 'amcl_requests_total{method="GET",route="/bug",status="500"} 1.0' in text
    assert 'amcl_rejected_total{reason="internal_error"} 1.0' in text


def test_root_points_to_the_documentation(settings: Settings) -> None:
    answer = TestClient(create_app(settings)).get("/").json()
    assert (answer["name"], answer["docs"]) == ("amcl-serve", "/docs")
    assert TestClient(create_app(settings, index=False)).get("/").status_code == 404


def test_the_documentation_loads_nothing_from_another_host(settings: Settings) -> None:
    client = TestClient(create_app(settings))
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "://" not in page.text
    assert '"validatorUrl": null' in page.text
    loaded = re.findall(r'(?:src|href)="(/[^"]*)"', page.text)
    assert len(loaded) == 2
    for path in loaded:
        found = client.get(path)
        assert found.status_code == 200
        assert found.headers["content-type"].split(";")[0] in ("text/css", "text/javascript")
        assert len(found.content) > 100_000
    assert "'/openapi.json'" in page.text
    assert client.get("/docs/__init__.py").status_code == 422
    assert client.get("/redoc").status_code == 404


def test_two_applications_do_not_share_metrics(settings: Settings) -> None:
    one, two = TestClient(create_app(settings)), TestClient(create_app(settings))
    one.get("/livez")
    assert "/livez" in one.get("/metrics").text
    assert "/livez" not in two.get("/metrics").text


def test_lifespan_ends_the_engine_and_the_collections(settings: Settings, tmp_path: Path) -> None:
    app = create_app(settings.model_copy(update={"data_dir": tmp_path}))
    with TestClient(app) as client:
        engine = app.state.server.registry.get().engine
        assert engine.healthy
        assert client.get("/readyz").status_code == 200
    assert not engine.healthy
    assert client.get("/readyz").status_code == 503
    with TestClient(
        create_app(settings.model_copy(update={"data_dir": tmp_path}))
    ) as again:  # the folder is free again
        assert again.get("/readyz").status_code == 200


def test_a_bundle_whose_probe_does_not_hold_stops_the_start(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle")
    card = json.loads((folder / "card.json").read_text())
    card["probe"]["features"]["fp32"] = [-value for value in card["probe"]["features"]["fp32"]]
    (folder / "card.json").write_text(json.dumps(card))
    app = create_app(Settings(model=str(folder), data_dir=tmp_path / "data"))
    with pytest.raises(BundleError, match="cosine"), TestClient(app):
        pass


def test_openapi_is_the_committed_one(settings: Settings) -> None:
    schema = create_app(settings.model_copy(update={"api_key": SecretStr("key")})).openapi()
    schema["info"]["version"] = "(of the package)"
    now = json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_OPENAPI"):
        SNAPSHOT.write_text(now, encoding="utf-8")
    assert json.loads(SNAPSHOT.read_text(encoding="utf-8")) == json.loads(now), (
        "the HTTP interface has changed; if it should, run `make openapi` and commit openapi.json"
    )


def test_without_keys_openapi_differs_by_what_keys_add(settings: Settings) -> None:
    with_keys = create_app(settings.model_copy(update={"api_key": SecretStr("key")})).openapi()
    without = create_app(settings).openapi()
    assert with_keys.pop("security") == [{"bearer": []}, {"header": []}]
    assert set(with_keys["components"].pop("securitySchemes")) == {"bearer", "header"}
    asked = set()
    for path, operations in with_keys["paths"].items():
        for operation in operations.values():
            if operation.pop("security", None) is None:
                del operation["responses"]["401"]
                asked.add(path)
            operation["responses"].pop("403", None)
    assert with_keys == without
    assert set(without["paths"]) - asked == {"/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"}


def test_openapi_resolves_and_says_problem_json(settings: Settings) -> None:
    schema = create_app(settings).openapi()

    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*map(references, node.values()))
        return set().union(*map(references, node)) if isinstance(node, list) else set()

    for reference in references(schema):
        kind, _, name = reference.removeprefix("#/components/").partition("/")
        assert name in schema["components"][kind]
    for path in schema["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            for status, response in operation["responses"].items():
                assert "x-request-id" in response["headers"]
                if int(status) >= 400:
                    assert set(response["content"]) == {"application/problem+json"}
    assert set(schema["paths"]["/embed"]["post"]["requestBody"]["content"]) == {
        "multipart/form-data", "application/json", "image/*", "application/octet-stream",
    }  # fmt: skip


def test_the_whole_server_imports_no_torch_and_no_gradio() -> None:
    code = (
        "import sys, amcl_serve.http.app, amcl_serve.cli, amcl_serve.commands.bulk.local;"
        "print(sorted({'torch', 'torchvision', 'gradio', 'sklearn'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_server_whose_collections_cannot_be_written_is_not_ready(settings: Settings, tmp_path: Path) -> None:
    with TestClient(create_app(settings.model_copy(update={"data_dir": tmp_path}))) as client:
        assert client.get("/readyz").status_code == 200
        store = server_in(client.app).store  # type: ignore[arg-type]
        assert store is not None
        store.close()
        response = client.get("/readyz")
        assert (response.status_code, response.json()["code"]) == (503, "not_ready")
