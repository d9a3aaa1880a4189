"""The client."""

from __future__ import annotations

from amcl_serve.client._async.analysis import AsyncAnalysis
from amcl_serve.client._async.collections import AsyncCollections
from amcl_serve.client._async.evaluations import AsyncEvaluations
from amcl_serve.client._async.images import AsyncImages
from amcl_serve.client._async.points import AsyncPoints


class AsyncClient(AsyncImages, AsyncCollections, AsyncPoints, AsyncAnalysis, AsyncEvaluations):
    """A client of the server's HTTP API. Connections are kept open until it is closed, and calls may share it.

    `limits` are what one request may hold, the server's defaults unless told; `timeout` is in seconds without a byte;
    `retry` says how long it is patient. Raises Unreachable where `url` is none.
    """
