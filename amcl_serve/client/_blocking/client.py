"""The client."""

from __future__ import annotations

from amcl_serve.client._blocking.analysis import Analysis
from amcl_serve.client._blocking.collections import Collections
from amcl_serve.client._blocking.evaluations import Evaluations
from amcl_serve.client._blocking.images import Images
from amcl_serve.client._blocking.points import Points


class Client(Images, Collections, Points, Analysis, Evaluations):
    """A client of the server's HTTP API. Connections are kept open until it is closed, and calls may share it.

    `limits` are what one request may hold, the server's defaults unless told; `timeout` is in seconds without a byte;
    `retry` says how long it is patient. Raises Unreachable where `url` is none.
    """
