"""Client and AsyncClient against a real server of small limits."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import numpy as np
import PIL.Image
import pytest
import uvicorn

from amcl_serve.client import AsyncClient, Client, Limits, Point
from amcl_serve.errors import (
    AmclError,
    BodyTooLarge,
    CollectionExists,
    CollectionNotFound,
    EmptyImage,
    ImageTooLarge,
    TooManyItems,
    UndecodableImage,
    UnsupportedImage,
)
from amcl_serve.http.app import create_app
from amcl_serve.settings import Settings
from tests.docs.snippets import snippet
from tests.fakes import HEAD_DIM, C, D
from tests.images import bomb_png, oriented, photo, picture, truncated

ROOT = Path(__file__).parents[3]
LIMITS = Limits(max_items=4, max_bytes=100_000)


@pytest.fixture(scope="module")
def url(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = Settings(
        model=str(tiny_bundle),
        data_dir=tmp_path_factory.mktemp("data"),
        max_items=LIMITS.max_items,
        max_body_bytes=LIMITS.max_bytes,
        session_threads=1,
        decode_threads=1,
    )
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


Call = Callable[..., Any]


@pytest.fixture(params=["blocking", "awaited"])
def call(url: str, request: pytest.FixtureRequest) -> Iterator[Call]:
    """call("embed", …): the method of either client."""

    async def awaited(name: str, *args: Any, **options: Any) -> Any:
        async with AsyncClient(url, limits=LIMITS) as client:
            return await getattr(client, name)(*args, **options)

    with Client(url, limits=LIMITS) as client:
        if request.param == "blocking":
            yield lambda name, *args, **options: getattr(client, name)(*args, **options)
        else:
            yield lambda name, *args, **options: anyio.run(lambda: awaited(name, *args, **options))


def test_images_in_every_form_have_the_same_vector(call: Call, tmp_path: Path) -> None:
    data = photo(3, format="PNG")
    (tmp_path / "a.png").write_bytes(data)
    image = picture(3)
    forms = [data, tmp_path / "a.png", str(tmp_path / "a.png"), image, np.asarray(image)]
    vectors = call("embed", forms)
    assert (vectors.shape, vectors.dtype) == ((5, D), np.float32)
    assert np.allclose(vectors, vectors[0], atol=1e-6)
    assert not np.allclose(call("embed", [photo(4)])[0], vectors[0], atol=0.01)
    alone = np.stack([call("embed", [form])[0] for form in forms])
    assert np.allclose(alone, vectors, atol=1e-6)


def test_pixels_of_other_modes(call: Call) -> None:
    turned = oriented(3, 6)
    opened = PIL.Image.open(io.BytesIO(turned))
    opened.load()
    grey = picture(5).convert("L")
    cmyk = picture(3).convert("CMYK")
    vectors = call("embed", [opened, turned, grey, np.asarray(grey), cmyk, picture(3).convert("RGBA"), picture(3)])
    for a, b in ((0, 1), (2, 3), (4, 6), (5, 6)):
        assert np.allclose(vectors[a], vectors[b], atol=5e-3), (a, b)
    assert not np.allclose(vectors[0], vectors[2], atol=0.05)


@pytest.mark.parametrize("wrong", [3, None, np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), [1]])
def test_what_is_no_image(call: Call, wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"an image is|an array of pixels is"):
        call("embed", [wrong])


@pytest.mark.parametrize("single", ["a.png", b"bytes", Path("a.png"), np.zeros((4, 4, 3), np.uint8)])
def test_a_single_image_is_not_taken_apart(call: Call, single: Any) -> None:
    for name, *images in (("embed", single), ("similarity", single, [b""]), ("similarity_cross", [b""], single)):
        with pytest.raises(TypeError, match=r"as a list: \[image\]"):
            call(name, *images)


def test_an_array_of_pixels_is_a_list_of_images(call: Call) -> None:
    pixels = np.stack([np.asarray(picture(seed)) for seed in range(3)])
    assert np.allclose(call("embed", pixels), call("embed", [picture(seed) for seed in range(3)]), atol=1e-6)


def test_options(call: Call) -> None:
    images = [photo(seed) for seed in range(3)]
    raw = call("embed", images)
    unit = call("embed", images, normalize=True)
    assert np.allclose(unit, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-6)
    heads = call("embed", images, outputs="heads", dtype="float16")
    assert (heads.shape, heads.dtype) == ((3, C, HEAD_DIM), np.float16)
    assert call("embed", images[:1], outputs="heads").shape == (1, C, HEAD_DIM)
    with pytest.raises(ValueError, match="no images"):
        call("embed", [])
    assert call("embed_each", []) == []


def test_many_images_go_in_several_requests(call: Call) -> None:
    images = (photo(seed) for seed in range(11))  # of 4 and 4 and 3
    vectors = call("embed", images)
    assert vectors.shape == (11, D)
    assert np.allclose(vectors[9], call("embed", [photo(9)])[0], atol=1e-6)
    padded = [photo(seed) + bytes(40_000) for seed in range(5)]  # of 2 and 2 and 1
    assert np.allclose(call("embed", padded), vectors[:5], atol=1e-6)


def test_bad_images_have_their_own_errors(call: Call) -> None:
    bad = [truncated(), b"", b"text", bomb_png()]
    kinds = [UndecodableImage, EmptyImage, UnsupportedImage, ImageTooLarge]
    good = [photo(1), photo(2)]
    too_large = photo(1) + bytes(100_000)
    images = [good[0], *bad, good[1], too_large, *bad[:2], good[0], bad[2]]
    found = call("embed_each", images)
    vectors = call("embed", good)
    expected = [None, *kinds, None, BodyTooLarge, *kinds[:2], None, kinds[2]]
    assert [type(item) if isinstance(item, AmclError) else None for item in found] == expected
    for place, row in ((0, 0), (5, 1), (9, 0)):
        assert np.allclose(found[place], vectors[row], atol=1e-6)
    assert "pixels" in str(found[4])
    for number, kind in enumerate(kinds):
        with pytest.raises(kind, match=r"images\[0\]: "):
            call("embed", [bad[number]])
        with pytest.raises(kind, match=r"images\[5\]: "):
            call("embed", [*(good * 2), good[0], bad[number]])


def test_a_server_of_smaller_limits_says_what_to_do(url: str) -> None:
    with Client(url) as client:
        with pytest.raises(TooManyItems, match=r"limit is at most 4 .*256 items.*max_items"):
            client.embed([photo(1)] * 5)
        with pytest.raises(BodyTooLarge, match=r"100000 bytes.*max_bytes"):
            client.embed([photo(1) + bytes(60_000)] * 2)
        with pytest.raises(BodyTooLarge, match=r"smaller images a request$"):
            client.similarity([photo(1)], [photo(1) + bytes(100_000)])


def test_the_defaults_are_the_servers() -> None:
    fields = Settings.model_fields
    assert Limits() == Limits(fields["max_items"].default, fields["max_body_bytes"].default)


def test_similarity(call: Call) -> None:
    images = [photo(seed) for seed in range(6)]
    answer = call("similarity", images, images[::-1])
    assert answer["model"] == "tiny"
    assert answer["mode"] == "pairs"
    assert [pair["index"] for pair in answer["data"]] == list(range(6))
    assert call("similarity", images[:1], images[:1])["data"][0]["same"] is True
    cross = call("similarity_cross", images[:2], images[:3])
    assert cross["score"].shape == (2, 3)
    assert cross["score"][0, 0] == pytest.approx(1, abs=1e-5)
    alone = call("similarity", [images[1]], [images[2]])["data"][0]
    assert cross["feature_similarity"][1, 2] == pytest.approx(alone["feature_similarity"], abs=1e-5)
    with pytest.raises(ValueError, match="2 and 1"):
        call("similarity", images[:2], images[:1])


def test_bad_images_of_pairs(call: Call) -> None:
    images = [photo(seed) for seed in range(5)]
    answer = call("similarity", images, [*images[:2], b"text", images[3], b""])
    errors = {pair["index"]: pair["error"] for pair in answer["data"] if "error" in pair}
    assert {index: error["code"] for index, error in errors.items()} == {2: "unsupported_image", 4: "empty_image"}
    assert {error["operand"] for error in errors.values()} == {"b"}
    with pytest.raises(UnsupportedImage, match=r"^b: "):
        call("similarity", images[:1], [b"text"])
    cross = call("similarity_cross", images[:2], [images[0], b"text"])
    assert np.isnan(cross["score"][:, 1]).all()
    assert not np.isnan(cross["score"][:, 0]).any()
    assert cross["errors"][0]["index"] == 1


def test_models_and_readiness(call: Call) -> None:
    (model,) = call("models")
    assert (model["name"], model["dim"], model["heads"]) == ("tiny", D, C)
    assert call("ready") is True


def test_collections(call: Call, request: pytest.FixtureRequest) -> None:
    name = f"photos-{request.node.callspec.params['call']}"
    call("create_collection", name)
    assert name in call("collections")
    with pytest.raises(CollectionExists):
        call("create_collection", name)
    uuid = UUID(int=7)
    points = [Point(seed, {"n": seed}, image=photo(seed)) for seed in range(6)] + [Point(uuid, image=picture(9))]
    assert call("upsert", name, points) == 7
    assert call("count", name) == call("collection", name)["points_count"] == 7
    assert call("count", name, filter={"must": [{"key": "n", "range": {"lt": 3}}]}) == 3
    (best,) = call("query", name, image=photo(2), limit=1, with_payload=True, with_vector=True)
    assert (best["id"], best["payload"]) == (2, {"n": 2})
    assert best["score"] == pytest.approx(1, abs=1e-5)
    assert len(best["vector"]) == D
    vector = call("embed", [photo(2)])[0]
    for target in (vector, vector.tolist(), vector.astype(np.float64)):
        assert call("query", name, vector=target, limit=1)[0]["id"] == 2
    assert call("query", name, image=photo(2), filter={"must_not": [{"has_id": [2]}]}, limit=1)[0]["id"] != 2
    assert 2 not in {hit["id"] for hit in call("query", name, id=2)}
    assert call("query", name, id=uuid, limit=2, offset=1)
    page = call("scroll", name, limit=5)
    assert [point["id"] for point in page["points"]] == list(range(5))
    rest = call("scroll", name, limit=5, offset=page["next_page_offset"])
    assert rest["points"][-1]["id"] == str(uuid)
    assert rest["next_page_offset"] is None
    call("delete", name, [0, 1, 2, 3, 4])
    call("delete", name, filter={"must": [{"key": "n", "match": {"value": 5}}]})
    assert call("count", name) == 1
    call("delete_collection", name)
    call("delete_collection", name)
    with pytest.raises(CollectionNotFound):
        call("count", name)


def test_points_by_vector(call: Call, request: pytest.FixtureRequest) -> None:
    name = f"vectors-{request.node.callspec.params['call']}"
    call("create_collection", name, distance="Euclid", size=2)
    vectors = np.arange(18, dtype=np.float64).reshape(9, 2)
    assert call("upsert", name, (Point(i, vector=row) for i, row in enumerate(vectors))) == 9
    assert [hit["id"] for hit in call("query", name, vector=[5, 6], limit=2)] in ([2, 3], [3, 2])
    for wrong in ({}, {"vector": [1.0], "image": b"x"}):
        with pytest.raises(ValueError, match="either a vector or an image"):
            Point(1, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one of image, vector and id"):
        call("query", name)
    with pytest.raises(ValueError, match="either ids or a filter"):
        call("delete", name)


def test_the_example_in_the_docs(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    exec(snippet("clients.md", "Python", url), {})
    said = capsys.readouterr().out.splitlines()
    assert said == [f"(2, {D})", "True", "cat 1.0"]


def test_threads_may_share_a_client(url: str) -> None:
    found: dict[int, Any] = {}
    with Client(url, limits=LIMITS) as client:
        threads = [
            threading.Thread(target=lambda seed=seed: found.update({seed: client.embed([photo(seed)] * 9)}))
            for seed in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for seed in range(4):
            assert np.allclose(found[seed], client.embed([photo(seed)]), atol=1e-6)
