"""A client of the server's HTTP API: `Client`, and `AsyncClient` with the same methods to be awaited.

    with Client("http://127.0.0.1:8000") as client:
        vectors = client.embed(["cat.jpg", "cup.jpg"])  # float32 [2, D]

An error of the server is raised as the class of `amcl_serve.errors` that has its code; Unreachable and UnexpectedAnswer
are the client's own. Nothing of the server, onnxruntime or FAISS is imported.
"""

from amcl_serve.client._async.client import AsyncClient
from amcl_serve.client._async.sending import DEFAULT_URL
from amcl_serve.client._blocking.client import Client
from amcl_serve.client.calls import Limits
from amcl_serve.client.retry import Retry
from amcl_serve.client.shapes import CrossAnswer, Image, PairsAnswer, Point

__all__ = ["DEFAULT_URL", "AsyncClient", "Client", "CrossAnswer", "Image", "Limits", "PairsAnswer", "Point", "Retry"]
