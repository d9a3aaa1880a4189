"""The shapes of /collections; names and defaults are Qdrant's."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field, model_validator

from amcl_serve.http.shapes.base import Shape
from amcl_serve.vectors.types import Distance, IndexChoice, IndexKind, Precision
from amcl_serve.vectors.values import MAX_SIZE

Result = TypeVar("Result")

_HINT = "a hint for Qdrant; not read"


class VectorParams(Shape, strict=True):
    """What the vectors of a collection are."""

    size: Annotated[int, Field(ge=1, le=MAX_SIZE)] | None = Field(None, description="default: the model's D")
    distance: Distance
    datatype: Literal["float32", "float16"] | None = Field(None, description="Qdrant's way to say `index.precision`")
    on_disk: bool | None = Field(None, description=_HINT)
    hnsw_config: dict[str, Any] | None = Field(None, description=_HINT)


class IndexParams(Shape, strict=True):
    """How a collection of 20,000 points or more is searched; smaller ones are searched exactly."""

    kind: IndexKind = Field("auto", description="auto: hnsw. exact: every vector is looked at")
    precision: Precision = Field(
        "float32",
        description="of the numbers that the index keeps in memory; what it finds is scored by float32 all the same",
    )


class ScalarQuantization(Shape, strict=True):
    """Qdrant's: 8 bits a number."""

    type: Literal["int8"]
    quantile: float | None = Field(None, description=_HINT)
    always_ram: bool | None = Field(None, description=_HINT)


class QuantizationConfig(Shape, strict=True):
    """Qdrant's way to say `index.precision`."""

    scalar: ScalarQuantization


class CreateRequest(Shape, strict=True):
    """Body of PUT /collections/{name}."""

    vectors: VectorParams
    index: IndexParams | None = None
    quantization_config: QuantizationConfig | None = None
    thumbnails: bool = Field(False, description="keep a thumbnail of each image that is written, beside its point")
    heads: bool = Field(False, description="keep the heads of each image, for `rerank`; points are then images alone")
    shard_number: Literal[1] | None = None
    replication_factor: Literal[1] | None = None
    write_consistency_factor: Literal[1] | None = None
    on_disk_payload: bool | None = Field(None, description=_HINT)
    hnsw_config: dict[str, Any] | None = Field(None, description=_HINT)
    optimizers_config: dict[str, Any] | None = Field(None, description=_HINT)
    wal_config: dict[str, Any] | None = Field(None, description=_HINT)

    @model_validator(mode="after")
    def _said_once(self) -> CreateRequest:
        if self.index and (self.quantization_config or self.vectors.datatype):
            raise ValueError("say `index.precision`, or Qdrant's vectors.datatype or quantization_config, not both")
        return self

    @property
    def choice(self) -> IndexChoice:
        """What it says about the index, in either way."""
        if self.index:
            return IndexChoice(self.index.kind, self.index.precision)
        return IndexChoice("auto", "int8" if self.quantization_config else self.vectors.datatype or "float32")


class Envelope(BaseModel, Generic[Result]):
    """Every answer of /collections."""

    result: Result
    status: Literal["ok"]
    time: float = Field(description="seconds")


class CollectionName(BaseModel):
    """One line of the list."""

    name: str


class CollectionList(BaseModel):
    """Result of GET /collections."""

    collections: list[CollectionName]


class StoredParams(BaseModel):
    """Size and distance of the vectors."""

    size: int
    distance: Distance
    datatype: Literal["float32", "float16"] = Field(description="of the index, as Qdrant says it")


class Params(BaseModel):
    """Qdrant's nesting."""

    vectors: StoredParams


class HnswConfig(BaseModel):
    """How the graph of a large collection is made."""

    m: int
    ef_construct: int
    full_scan_threshold: int = Field(description="KiB of vectors, beyond which there is a graph")


class OptimizersConfig(BaseModel):
    """Qdrant's, for its clients."""

    deleted_threshold: float = Field(description="share of deleted vectors beyond which an index is made smaller")
    vacuum_min_vector_number: int
    default_segment_number: int
    flush_interval_sec: int = Field(description="0: a write is on the disk when it is answered")


class Config(BaseModel):
    """Qdrant's nesting."""

    params: Params
    hnsw_config: HnswConfig
    optimizer_config: OptimizersConfig
    quantization_config: QuantizationConfig | None = Field(description="of the index, as Qdrant says it")


class PayloadIndex(BaseModel):
    """An indexed field."""

    data_type: str
    points: int = Field(description="that have the field")


class Existence(BaseModel):
    """Result of GET /collections/{name}/exists."""

    exists: bool


class EmbeddedBy(BaseModel):
    """The model whose images the collection holds."""

    name: str
    digest: str


class IndexDetail(BaseModel):
    """How the collection was said to be searched, and how it is."""

    kind: IndexKind
    precision: Precision
    used: Literal["exact", "hnsw", "ivf"] = Field(description="now, for all points but the latest")


class CollectionDetail(BaseModel):
    """Result of GET /collections/{name}."""

    status: Literal["green", "yellow"] = Field(description="yellow while an index of the payloads is filled")
    optimizer_status: Literal["ok"]
    points_count: int
    indexed_vectors_count: int = Field(description="that are searched for by the graph")
    segments_count: int
    config: Config
    index: IndexDetail
    payload_schema: dict[str, PayloadIndex]
    model: EmbeddedBy | None = Field(description="null until an image is embedded into the collection")
    thumbnails: bool = Field(description="whether thumbnails are kept")
    heads: bool = Field(description="whether heads are kept")


class AliasBody(BaseModel):
    """A second name of a collection."""

    alias_name: str
    collection_name: str


class AliasList(BaseModel):
    """Result of GET /aliases and /collections/{name}/aliases."""

    aliases: list[AliasBody]


class CreatedAlias(Shape, strict=True):
    """An alias and what it stands for from now on."""

    alias_name: str
    collection_name: str


class DeletedAlias(Shape, strict=True):
    """An alias that is to be forgotten."""

    alias_name: str


class RenamedAlias(Shape, strict=True):
    """An alias, and what it is called from now on."""

    old_alias_name: str
    new_alias_name: str


class AliasAction(Shape, strict=True):
    """One of three."""

    create_alias: CreatedAlias | None = None
    delete_alias: DeletedAlias | None = None
    rename_alias: RenamedAlias | None = None

    @model_validator(mode="after")
    def _one_action(self) -> AliasAction:
        if sum(action is not None for action in (self.create_alias, self.delete_alias, self.rename_alias)) != 1:
            raise ValueError("one of create_alias, delete_alias, rename_alias")
        return self


class AliasRequest(Shape, strict=True):
    """Body of POST /collections/aliases: done in their order, all or none."""

    actions: Annotated[list[AliasAction], Field(max_length=1000, fail_fast=True)]


Schema = Literal["keyword", "integer", "float", "bool", "uuid", "datetime"]


class IndexType(Shape, strict=True):
    """Qdrant's long form of a field's schema."""

    type: Schema
    lookup: bool | None = Field(None, description=_HINT)
    range: bool | None = Field(None, description=_HINT)
    is_principal: bool | None = Field(None, description=_HINT)
    is_tenant: bool | None = Field(None, description=_HINT)
    on_disk: bool | None = Field(None, description=_HINT)


class IndexRequest(Shape, strict=True):
    """Body of PUT /collections/{name}/index."""

    field_name: str
    field_schema: Schema | IndexType | None = Field(
        None, description="keyword by default; values of any kind are indexed"
    )
