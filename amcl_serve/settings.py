"""One immutable Settings, read from flags, the AMCL_* environment, then defaults."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from amcl_serve.machine import cores

MiB = 1024 * 1024
REQUESTS_PER_CORE = 64
_VECTORS = re.compile(r"(sqlite|milvus://[A-Za-z0-9._-]+:[0-9]{1,5})?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s,]+")


def _data_dir() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "amcl-serve"


def _names(value: object) -> object:
    """A text with commas, as the environment gives it, as the names between them."""
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


# NoDecode: pydantic-settings otherwise wants JSON in the variable of a setting that holds several values.
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]


class Settings(BaseSettings):
    """Every setting of the server: an environment variable AMCL_<NAME> and a flag of `amcl-serve serve`.

    Secrets are no flags: other users of the machine could read them in the list of processes.
    """

    model_config = SettingsConfigDict(env_prefix="AMCL_", frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="address to listen on")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(8000, description="port to listen on")
    api_key: SecretStr | None = Field(None, description="keys that may read and write, separated by commas")
    api_key_file: Path | None = Field(None, description="file of keys that may read and write, one a line")
    read_only_api_key: SecretStr | None = Field(None, description="keys that may only read, separated by commas")
    read_only_api_key_file: Path | None = Field(None, description="file of keys that may only read, one a line")
    model: Annotated[Names, Field(min_length=1)] = Field(
        ("default",),
        description="a bundle's folder, its name in the model folder, or the name of one shipped with the package; "
        "repeat it (in the variable: commas) for more, the first is the default of requests",
    )
    model_dir: Path | None = Field(
        None, description="folder of bundles, each in a folder of its name, that POST /models/NAME/load may load"
    )
    precision: Literal["auto", "fp32", "fp16", "int8"] = Field(
        "auto", description="encoder to load; auto: int8 on CPU, fp16 elsewhere, else the first that the bundle has"
    )
    provider: str = Field(
        "auto",
        description="onnxruntime execution provider: cpu, cuda, tensorrt, openvino, coreml, its full name, or several "
        "with commas, each for what those before it do not take; tensorrt has cuda behind it; "
        "auto: CUDA where it loads, else the CPU, with a warning if this onnxruntime is built for CUDA",
    )
    provider_options: str = Field(
        "", description="options of providers with commas, such as openvino.device_type=GPU,cuda.device_id=1"
    )
    require_provider: str | None = Field(
        None,
        min_length=1,
        description="provider that must run every model; where another would, the command exits with 1",
    )
    session_threads: int | None = Field(
        None,
        ge=1,
        le=256,
        description="threads of one call of the encoder; none: the cores if an image takes one 5 ms, else 1",
    )
    decode_threads: Annotated[int, Field(ge=1, le=256)] = Field(
        default_factory=cores, description="threads that decode images and, on a CPU, call the encoder"
    )
    max_batch: Annotated[int, Field(ge=1, le=1024)] = Field(
        32, description="images in one call of the encoder; on a CPU 8 at most"
    )
    max_body_bytes: Annotated[int, Field(ge=1024)] = Field(64 * MiB, description="bytes of a request's body")
    max_inflight_bytes: Annotated[int, Field(ge=1024)] = Field(
        256 * MiB, description="bytes of the bodies of all requests under way"
    )
    max_items: Annotated[int, Field(ge=1)] = Field(256, description="images, pairs or searches of one request")
    max_pixels: Annotated[int, Field(ge=1)] = Field(64_000_000, description="pixels of one image, by its header")
    accept_truncated: bool = Field(
        False, description="embed what is there of an image file that was cut off, rather than refuse it"
    )
    max_queue_items: Annotated[int, Field(ge=1)] = Field(1024, description="images admitted and not yet answered")
    max_requests: Annotated[int, Field(ge=1)] = Field(
        default_factory=lambda: REQUESTS_PER_CORE * cores(),
        description=f"requests that have come whole and are not yet answered; {REQUESTS_PER_CORE} a core by default",
    )
    request_deadline: Annotated[float, Field(gt=0)] = Field(
        30.0,
        description="seconds for a request's headers to come, for its body, then for its images to be answered; "
        "a stop waits as long",
    )
    data_dir: Path = Field(default_factory=_data_dir, description="folder of the collections")
    vectors: str = Field(
        "sqlite",
        description="where collections are kept: sqlite, in data_dir, or milvus://HOST:PORT (needs the extra milvus)",
    )
    search_threads: Annotated[int, Field(ge=1, le=256)] = Field(1, description="threads of one search in a collection")
    search_deadline: Annotated[float, Field(gt=0)] = Field(
        10.0, description="seconds for which a collection is searched or filtered for one request"
    )
    analysis_threads: Annotated[int, Field(ge=1, le=256)] = Field(
        default_factory=cores,
        description="threads that compare the pictures of a collection, for one request at a time",
    )
    analysis_deadline: Annotated[float, Field(gt=0)] = Field(
        600.0, description="seconds for which the pictures of a collection are compared for one request"
    )
    max_archive_bytes: Annotated[int, Field(ge=1024)] = Field(
        1024 * MiB, description="bytes of an archive of images that is uploaded to be evaluated, packed and unpacked"
    )
    max_evaluations: Annotated[int, Field(ge=1)] = Field(
        50, description="evaluations that are kept with their reports; the oldest go"
    )
    image_root: Path | None = Field(
        None, description="folder whose images an evaluation of a collection may read, by the `path` in its payloads"
    )
    root_path: Annotated[str, Field(pattern=r"^((/[A-Za-z0-9._~-]+)+)?$")] = Field(
        "",
        description="path of a proxy under which the server is found, such as /amcl; else X-Forwarded-Prefix",
    )
    cors_origins: str = Field(
        "", description="web origins whose pages may call the API, separated by commas; * for any, empty for none"
    )
    log_format: Literal["console", "json"] = Field("console", description="lines for people, or JSON objects")
    log_requests: bool = Field(False, description="log a line for each request at level info; else at level debug")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="level of the log")

    @field_validator("vectors")
    @classmethod
    def _vectors(cls, value: str) -> str:
        if not _VECTORS.fullmatch(value):
            raise ValueError("sqlite, or milvus://HOST:PORT such as milvus://localhost:19530")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        """Each must be what a browser sends as Origin: one that is not would never match, and nobody would know."""
        for origin in (part.strip() for part in value.split(",")):
            if origin not in ("", "*") and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    "an origin is a scheme and a host, such as https://example.org or http://localhost:3000"
                )
        return value

    @property
    def allowed_origins(self) -> list[str]:
        """`cors_origins` one by one."""
        return [origin for part in self.cors_origins.split(",") if (origin := part.strip())]
