"""LightlyStudio's protocol, by its own conformance command and by what it says of answers."""

from __future__ import annotations

import numpy as np
import pytest
from lightly_studio_serve import cli
from lightly_studio_serve.protocol import DescribeResponse, EmbeddingsResponse
from starlette.testclient import TestClient

from tests.amcl_serve.http.conftest import LIMITS, picture
from tests.amcl_serve.http.routes.protocols.asking import KEY, unit_features
from tests.fakes import D

PATH = "/v1/embed/images/bytes"


def test_its_conformance_command_passes(served: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["conformance", served, "--api-key", KEY]) == 0
    lines = {tuple(line.split(maxsplit=1)) for line in capsys.readouterr().out.splitlines() if line}
    assert {("image_bytes", "passed"), ("ready", "yes"), ("PASSED",), ("vectors", f"{D} values")} <= lines


def test_a_stranger_fails(served: str) -> None:
    assert cli.main(["conformance", served, "--api-key", "another"]) != 0


def test_what_is_no_image_is_left_out(client: TestClient) -> None:
    files = [("files", ("a", picture(1))), ("files", ("b", b"no image")), ("files", ("c", picture(2)))]
    response = client.post(PATH, files=files)
    found = EmbeddingsResponse.model_validate(response.json())
    described = DescribeResponse.model_validate(client.get("/v1/describe").json())
    assert found.kept_indices == [0, 2]
    np.testing.assert_allclose(found.embeddings, unit_features(client, 1, 2), atol=1e-6)
    assert (found.space_key, found.dimension) == (described.space_key, described.dimension)
    assert described.limits.model_dump() == {
        "max_batch_size": LIMITS["max_items"], "max_request_bytes": LIMITS["max_body_bytes"]
    }  # fmt: skip
    digest = client.get("/models").json()["data"][0]["digest"]
    assert described.space_key == f"amcl-serve/tiny@{digest}"


def test_none_may_be_an_image(client: TestClient) -> None:
    answer = client.post(PATH, files=[("files", ("b", b"no image"))]).json()
    assert (answer["kept_indices"], answer["embeddings"]) == ([], [])


def test_what_is_wrong_is_said(client: TestClient) -> None:
    many = client.post(PATH, files=[("files", ("a", picture(1)))] * 5)
    assert (many.status_code, many.json()["code"]) == (413, "too_many_items")
    assert client.post(PATH, data={"x": "y"}, files=[("images", ("a", picture(1)))]).status_code == 422
    raw = client.post(PATH, content=picture(1), headers={"content-type": "image/png"})
    assert (raw.status_code, raw.json()["detail"]) == (
        415, "the content type is image/png; this route reads multipart/form-data with `files`"
    )  # fmt: skip
