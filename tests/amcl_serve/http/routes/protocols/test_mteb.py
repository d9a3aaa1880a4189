"""mteb's class for servers that speak like OpenAI's, as docs/clients.md has it, on a folder of images made here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from amcl_serve.hosting.opening import find_bundle
from benchmarks.processes import serving
from tests.amcl_serve.http.routes.protocols.elsewhere import run
from tests.docs.snippets import snippet

pytestmark = pytest.mark.slow

COLOURS = {"red": (200, 40, 40), "green": (40, 160, 60), "blue": (40, 70, 200)}
EACH = {"train": 8, "test": 5}  # mteb trains on 8 images of each label

VECTORS = """
import json
from pathlib import Path
from PIL import Image
images = [Image.open(file) for file in sorted(Path("colours").rglob("*.png"))]
vectors = model.encode([{"image": images}], task_metadata=Colours.metadata, hf_split="test", hf_subset="default")
print(json.dumps(vectors.tolist()))
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(find_bundle("default"), tmp_path_factory.mktemp("mteb"), "--session-threads", "1") as server:
        yield server.url


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """39 smooth pictures, in folders by the split and the colour that they are made around."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split, count in EACH.items():
        for name, colour in COLOURS.items():
            place = folder / "colours" / split / name
            place.mkdir(parents=True)
            for index in range(count):
                pixels = np.clip(colour + rng.normal(0, 35, (5, 5, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).resize((80, 64), Image.Resampling.BICUBIC).save(place / f"{index}.png")
    return folder


def test_an_image_task_runs_and_gets_the_servers_vectors(url: str, folder: Path) -> None:
    said = run(snippet("clients.md", "mteb", url) + VECTORS, folder).splitlines()
    assert float(said[0]) >= 0.9  # a third by chance
    found = np.array(json.loads(said[-1]), np.float32)
    files = sorted((folder / "colours").rglob("*.png"))
    assert len(files) == len(COLOURS) * sum(EACH.values())
    answer = httpx.post(
        f"{url}/embed?normalize=true", files=[("files", (file.name, file.read_bytes())) for file in files], timeout=60
    )
    right = np.array([item["embedding"] for item in answer.json()["data"]], np.float32)
    np.testing.assert_allclose(found, right, atol=1e-5)


def test_a_task_with_texts_ends_with_the_servers_sentence(url: str, folder: Path) -> None:
    asked = """
try:
    model.encode([{"text": ["a red picture"]}], task_metadata=Colours.metadata, hf_split="test", hf_subset="default")
except RuntimeError as error:
    print(error)
"""
    code = snippet("clients.md", "mteb", url)
    model = code.index("model = ")
    said = run(code[: code.index("\n", model)] + asked, folder)
    assert "this server embeds images, not texts" in said
