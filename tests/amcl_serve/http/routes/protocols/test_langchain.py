"""LangChain's class for Jina's API, as docs/clients.md has it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.amcl_serve.http.conftest import picture
from tests.amcl_serve.http.routes.protocols.asking import KEY, unit_features, uri
from tests.amcl_serve.http.routes.protocols.elsewhere import run
from tests.docs.snippets import snippet
from tests.fakes import D

pytestmark = pytest.mark.slow

VECTORS = """
import json
print(json.dumps(embeddings.embed_images(["1.png", {uri!r}])))
print(json.dumps(embeddings.embed_documents([{uri!r}])))
try:
    embeddings.embed_images(["https://example.org/a.png"])
except RuntimeError as error:
    print(error)
"""


def test_it_embeds_files_and_data_uris_and_understands_a_refusal(
    served: str, client: TestClient, tmp_path: Path
) -> None:
    (tmp_path / "1.png").write_bytes(picture(1))
    for name in ("cat", "cup"):
        (tmp_path / "app" / "assets").mkdir(parents=True, exist_ok=True)
        (tmp_path / "app" / "assets" / f"{name}.jpg").write_bytes(picture(3))
    code = snippet("clients.md", "LangChain", served).replace('"key"', repr(KEY))
    printed, images, documents, refused = run(code + VECTORS.format(uri=uri(2)), tmp_path).splitlines()
    assert printed == f"2 {D}"
    np.testing.assert_allclose(json.loads(images), unit_features(client, 1, 2), atol=1e-6)
    np.testing.assert_allclose(json.loads(documents), unit_features(client, 2), atol=1e-6)
    assert "images are never fetched by URL" in refused
