"""Qdrant's own client, as it is published, against a server of ours."""

from __future__ import annotations

import ast
import base64
import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from qdrant_client import QdrantClient
from qdrant_client import models as m
from qdrant_client.http.exceptions import UnexpectedResponse

from benchmarks.processes import serving
from tests.amcl_serve.http.conftest import picture
from tests.fakes import D

SIZE = D
PAGE = Path(__file__).parents[5] / "docs" / "qdrant.md"
TABLE = re.compile(r"(?<=<!-- made by the test of Qdrant's client -->\n).*?(?=\n<!-- end -->)", re.DOTALL)
# Of ways to the same routes, or of what is no method of a server.
OTHER_WAYS = {"close", "init_options", "info", "upload_records", "migrate"}


@pytest.fixture(scope="module")
def url(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tiny_bundle, tmp_path_factory.mktemp("server")) as server:
        yield server.url


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    client = QdrantClient(url=url, cloud_inference=True, check_compatibility=False)
    yield client
    for entry in client.get_collections().collections:
        client.delete_collection(entry.name)
    client.close()


@pytest.fixture
def points(client: Any) -> Any:
    """A client with twenty points in the collection `a`: point 3 + n is nearest to the n-th axis."""
    client.create_collection("a", vectors_config=m.VectorParams(size=SIZE, distance=m.Distance.COSINE))
    rng = np.random.default_rng(0)
    client.upsert(
        "a",
        points=[
            m.PointStruct(
                id=i,
                vector=v(rng),
                payload={"n": i, "kind": "even" if i % 2 == 0 else "odd", "tags": ["all", f"t{i % 3}"]},
            )
            for i in range(20)
        ],
    )
    return client


def v(rng: np.random.Generator) -> list[float]:
    return rng.normal(size=SIZE).tolist()


def ids(found: Any) -> list[Any]:
    return [point.id for point in found]


def test_collections(client: Any) -> None:
    assert client.collection_exists("a") is False
    assert (
        client.create_collection(
            "a",
            vectors_config=m.VectorParams(size=4, distance=m.Distance.DOT, on_disk=True),
            on_disk_payload=True,
            hnsw_config=m.HnswConfigDiff(m=8),
            optimizers_config=m.OptimizersConfigDiff(indexing_threshold=1),
            shard_number=1,
            replication_factor=1,
        )
        is True
    )
    assert client.collection_exists("a") is True
    info = client.get_collection("a")
    assert (info.points_count, info.status, info.config.params.vectors.size) == (0, m.CollectionStatus.GREEN, 4)
    assert info.config.params.vectors.distance == m.Distance.DOT
    assert [entry.name for entry in client.get_collections().collections] == ["a"]
    with pytest.raises(UnexpectedResponse) as error:
        client.create_collection("a", vectors_config=m.VectorParams(size=4, distance=m.Distance.DOT))
    assert error.value.status_code == 409
    assert client.delete_collection("a") is True
    assert client.delete_collection("a") is False
    with pytest.raises(UnexpectedResponse) as error:
        client.get_collection("a")
    assert error.value.status_code == 404


def test_aliases(points: Any) -> None:
    points.create_collection("b", vectors_config=m.VectorParams(size=SIZE, distance=m.Distance.EUCLID))
    create = m.CreateAliasOperation(create_alias=m.CreateAlias(collection_name="a", alias_name="current"))
    assert points.update_collection_aliases(change_aliases_operations=[create]) is True
    assert [each.alias_name for each in points.get_aliases().aliases] == ["current"]
    assert points.get_collection_aliases("a").aliases[0].collection_name == "a"
    assert points.count("current").count == 20
    rename = m.RenameAliasOperation(rename_alias=m.RenameAlias(old_alias_name="current", new_alias_name="before"))
    again = m.CreateAliasOperation(create_alias=m.CreateAlias(collection_name="b", alias_name="current"))
    points.update_collection_aliases([rename, again])
    assert (points.count("before").count, points.count("current").count) == (20, 0)
    points.update_collection_aliases([m.DeleteAliasOperation(delete_alias=m.DeleteAlias(alias_name="before"))])
    assert len(points.get_aliases().aliases) == 1


def test_snapshots(points: Any, url: str) -> None:
    made = points.create_snapshot("a")
    assert [each.name for each in points.list_snapshots("a")] == [made.name]
    assert (made.size > 0, len(made.checksum)) == (True, 64)
    points.delete("a", points_selector=[1, 2, 3])
    place = f"{url}/collections/a/snapshots/{made.name}"
    assert points.recover_snapshot("a", location=place) is True
    assert points.count("a").count == 20
    assert points.recover_snapshot("b", location=place, checksum=made.checksum) is True
    assert points.count("b").count == 20
    for location in ("http://127.0.0.1:1/collections/a/snapshots/x.snapshot", "file:///etc/passwd", "a/b"):
        with pytest.raises(UnexpectedResponse, match="are not fetched"):
            points.recover_snapshot("a", location=location)
    with httpx.stream("GET", place) as answer:
        assert hashlib.sha256(answer.read()).hexdigest() == made.checksum
    assert points.delete_snapshot("a", made.name) is True
    assert points.list_snapshots("a") == []


def test_how_the_index_keeps_numbers(client: Any) -> None:
    scalar = m.ScalarQuantization(scalar=m.ScalarQuantizationConfig(type=m.ScalarType.INT8, always_ram=True))
    params = m.VectorParams(size=4, distance=m.Distance.DOT)
    assert client.create_collection("a", vectors_config=params, quantization_config=scalar) is True
    half = m.VectorParams(size=4, distance=m.Distance.DOT, datatype=m.Datatype.FLOAT16)
    assert client.create_collection("b", vectors_config=half) is True
    config = client.get_collection("a").config
    assert config.quantization_config.scalar.type == m.ScalarType.INT8
    assert client.get_collection("b").config.params.vectors.datatype == m.Datatype.FLOAT16
    product = m.ProductQuantization(product=m.ProductQuantizationConfig(compression=m.CompressionRatio.X4))
    with pytest.raises(UnexpectedResponse):
        client.create_collection("c", vectors_config=params, quantization_config=product)


def test_points_are_written_in_each_form(points: Any) -> None:
    identity = str(uuid.UUID(int=5))
    rng = np.random.default_rng(1)
    result = points.upsert(
        "a", points=m.Batch(ids=[100, identity], vectors=[v(rng), v(rng)], payloads=[{"x": 1}, {}]), wait=True
    )
    assert result.status == m.UpdateStatus.COMPLETED
    points.upload_points("a", [m.PointStruct(id=200 + i, vector=v(rng)) for i in range(300)], batch_size=128, wait=True)
    points.upload_collection(
        "a", vectors=rng.normal(size=(70, SIZE)).astype(np.float32), ids=range(1000, 1070), wait=True
    )
    assert points.count("a").count == 20 + 2 + 300 + 70
    found = points.retrieve("a", [100, identity, 999], with_vectors=True)
    assert sorted(map(str, ids(found))) == sorted(["100", identity])
    assert {str(each.id): each.payload for each in found} == {"100": {"x": 1}, identity: {}}
    assert len(found[0].vector) == SIZE
    points.delete("a", points_selector=[100, identity])
    points.delete("a", points_selector=m.PointIdsList(points=list(range(200, 500))))
    points.delete(
        "a", points_selector=m.FilterSelector(filter=m.Filter(must=[m.HasIdCondition(has_id=list(range(1000, 1070)))]))
    )
    assert points.count("a").count == 20


def test_payloads(points: Any) -> None:
    points.set_payload("a", payload={"new": {"x": None}}, points=[1, 2])
    points.set_payload("a", payload={"y": 1}, points=[1], key="new")
    points.overwrite_payload("a", payload={"only": True}, points=[3])
    points.delete_payload(
        "a", keys=["n", "tags"], points=m.Filter(must=[m.FieldCondition(key="n", match=m.MatchValue(value=4))])
    )
    points.clear_payload("a", points_selector=[5])
    found = {each.id: each.payload for each in points.retrieve("a", [1, 2, 3, 4, 5])}
    assert found[1]["new"] == {"x": None, "y": 1}
    assert found[2]["new"] == {"x": None}
    assert (found[3], found[4], found[5]) == ({"only": True}, {"kind": "even"}, {})


def test_indexes_of_payloads_and_orders(points: Any) -> None:
    result = points.create_payload_index("a", field_name="n", field_schema=m.PayloadSchemaType.INTEGER)
    assert result.status == m.UpdateStatus.COMPLETED
    points.create_payload_index(
        "a", "kind", field_schema=m.KeywordIndexParams(type=m.KeywordIndexType.KEYWORD, is_tenant=False)
    )
    schema = points.get_collection("a").payload_schema
    assert {name: (each.data_type, each.points) for name, each in schema.items()} == {
        "n": (m.PayloadSchemaType.INTEGER, 20),
        "kind": (m.PayloadSchemaType.KEYWORD, 20),
    }
    odd = m.Filter(must=[m.FieldCondition(key="kind", match=m.MatchValue(value="odd"))])
    records, page = points.scroll(
        "a", scroll_filter=odd, order_by=m.OrderBy(key="n", direction=m.Direction.DESC, start_from=9), limit=3
    )
    assert (ids(records), [each.order_value for each in records], page) == ([9, 7, 5], [9, 7, 5], None)
    assert ids(points.query_points("a", query=m.OrderByQuery(order_by="n"), limit=2).points) == [0, 1]
    points.delete_payload_index("a", "n")
    assert set(points.get_collection("a").payload_schema) == {"kind"}


def test_scroll_and_count(points: Any) -> None:
    records, page = points.scroll("a", limit=8)
    assert (ids(records), page) == (list(range(8)), 8)
    records, page = points.scroll("a", limit=20, offset=page, with_payload=["n"], with_vectors=True)
    assert (ids(records), page) == (list(range(8, 20)), None)
    assert records[0].payload == {"n": 8}
    assert len(records[0].vector) == SIZE
    where = m.Filter(
        must_not=[m.FieldCondition(key="tags", match=m.MatchAny(any=["t0", "t1"]))],
        should=[m.FieldCondition(key="n", range=m.Range(gte=10)), m.HasIdCondition(has_id=[2])],
    )
    assert points.count("a", count_filter=where, exact=True).count == 4  # 2, 11, 14, 17
    assert ids(points.scroll("a", scroll_filter=where)[0]) == [2, 11, 14, 17]


def test_searches(points: Any) -> None:
    stored = {each.id: np.array(each.vector) for each in points.retrieve("a", list(range(20)), with_vectors=True)}
    target = v(np.random.default_rng(9))
    expected = sorted(stored, key=lambda i: -float(stored[i] @ np.array(target)))
    found = points.query_points("a", query=target, limit=5).points
    assert ids(found) == expected[:5]
    assert found[0].payload["n"] == expected[0]
    assert found[0].score == pytest.approx(
        float(stored[expected[0]] @ target) / float(np.linalg.norm(target)), abs=1e-5
    )
    assert (
        ids(points.query_points("a", query=np.array(target), offset=2, limit=3, with_payload=False).points)
        == expected[2:5]
    )
    assert ids(points.query_points("a", query=m.NearestQuery(nearest=target), limit=2).points) == expected[:2]
    where = m.Filter(must=[m.FieldCondition(key="kind", match=m.MatchValue(value="odd"))])
    params = m.SearchParams(exact=True, hnsw_ef=64)
    odd = [i for i in expected if i % 2]
    assert (
        ids(points.query_points("a", query=target, query_filter=where, search_params=params, limit=4).points) == odd[:4]
    )
    threshold = found[2].score
    assert ids(points.query_points("a", query=target, score_threshold=threshold).points) == expected[:3]
    selected = points.query_points(
        "a", query=3, limit=1, with_payload=m.PayloadSelectorExclude(exclude=["n"]), with_vectors=True
    ).points[0]
    assert set(selected.payload) == {"kind", "tags"}
    assert len(selected.vector) == SIZE
    batch = points.query_batch_points(
        "a",
        requests=[
            m.QueryRequest(query=target, limit=3),
            m.QueryRequest(query=3, limit=1, filter=where, with_payload=True),
        ],
    )
    assert ids(batch[0].points) == expected[:3]
    assert batch[1].points[0].payload["kind"] == "odd"
    assert ids(points.query_points("a", limit=3).points) == [0, 1, 2]
    drawn = points.query_points("a", query=m.SampleQuery(sample=m.Sample.RANDOM), limit=20).points
    assert sorted(ids(drawn)) == list(range(20))


def test_recommendations_and_groups(points: Any) -> None:
    stored = {each.id: np.array(each.vector) for each in points.retrieve("a", list(range(20)), with_vectors=True)}
    wanted = stored[1] + stored[2] - stored[3]  # 2 mean(1, 2) - 3
    expected = sorted(set(stored) - {1, 2, 3}, key=lambda i: -float(stored[i] @ wanted))
    query = m.RecommendQuery(
        recommend=m.RecommendInput(
            positive=[1, stored[2].tolist()], negative=[3], strategy=m.RecommendStrategy.AVERAGE_VECTOR
        )
    )
    found = [each for each in ids(points.query_points("a", query=query, limit=6).points) if each != 2]
    assert found[:5] == expected[:5]
    groups = points.query_points_groups(
        "a", query=stored[7].tolist(), group_by="kind", limit=2, group_size=3, with_payload=True
    ).groups
    ranked = sorted(stored, key=lambda i: -float(stored[i] @ stored[7]))
    assert [(each.id, ids(each.hits)) for each in groups] == [
        ("odd", [i for i in ranked if i % 2][:3]),
        ("even", [i for i in ranked if i % 2 == 0][:3]),
    ]
    by_tag = points.query_points_groups("a", query=stored[7].tolist(), group_by="tags", limit=4, group_size=1).groups
    assert {each.id for each in by_tag} == {"all", "t0", "t1", "t2"}


def test_images_in_place_of_vectors(client: Any) -> None:
    client.create_collection("photos", vectors_config=m.VectorParams(size=SIZE, distance=m.Distance.COSINE))
    images = [base64.b64encode(picture(seed)).decode() for seed in range(4)]
    client.upsert(
        "photos",
        points=[
            m.PointStruct(id=i, vector=m.Image(image=image, model="tiny"), payload={"i": i})
            for i, image in enumerate(images)
        ],
    )
    client.upsert("photos", points=m.Batch(ids=[9], vectors=[m.Image(image=images[0], model="tiny")]))
    found = client.query_points("photos", query=m.Image(image=images[2], model="tiny"), limit=2).points
    assert (found[0].id, found[0].score) == (2, pytest.approx(1, abs=1e-5))
    liked = m.RecommendQuery(
        recommend=m.RecommendInput(positive=[m.Image(image=images[1], model="tiny")], negative=[3])
    )
    assert client.query_points("photos", query=liked, limit=1).points[0].id == 1
    with pytest.raises(UnexpectedResponse) as error:
        client.query_points("photos", query=m.Image(image=images[0], model="nope"))
    assert error.value.status_code == 404


def test_what_is_not_there_says_so(points: Any) -> None:
    prefetch = [m.Prefetch(query=[1.0] * SIZE, limit=3)]
    for call, says in (
        (lambda: points.query_points("a", prefetch=prefetch, query=m.FusionQuery(fusion=m.Fusion.RRF)), "prefetch"),
        (lambda: points.query_points("a", query=[1.0] * SIZE, using="other"), "using"),
        (
            lambda: points.create_collection(
                "n", vectors_config={"x": m.VectorParams(size=1, distance=m.Distance.DOT)}
            ),
            "vectors",
        ),
    ):
        with pytest.raises(UnexpectedResponse) as error:
            call()
        assert error.value.status_code == 422
        assert says in str(error.value)


def test_the_table_in_the_docs_is_what_is_tested_here() -> None:
    """`works`: called above; the others are named, so that nobody has to try."""
    called = {node.attr for node in ast.walk(ast.parse(Path(__file__).read_text())) if isinstance(node, ast.Attribute)}
    methods = {
        name
        for name in dir(QdrantClient)
        if callable(getattr(QdrantClient, name)) and not name.startswith("_") and name not in OTHER_WAYS
    }
    works, others = (", ".join(f"`{name}`" for name in sorted(names)) for names in (methods & called, methods - called))
    table = f"| works | not there |\n| --- | --- |\n| {works} | {others} |"
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(TABLE.sub(lambda _: table, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    found = TABLE.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    assert found[0] == table, "run this test with UPDATE_DOCS=1, and read what has changed"
