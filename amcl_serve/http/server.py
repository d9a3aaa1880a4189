"""What a running application holds. Every route finds it in the request; there are no other globals."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI, Request

from amcl_serve.errors import NotReady
from amcl_serve.hosting.lifecycle import Loader
from amcl_serve.hosting.registry import Registry
from amcl_serve.http.guards.in_flight import InFlight
from amcl_serve.http.guards.keys import Keys
from amcl_serve.http.metrics import Metrics
from amcl_serve.jobs.calibration import Calibrator
from amcl_serve.jobs.evaluations import Evaluations
from amcl_serve.settings import Settings
from amcl_serve.vectors.analysis.analyses import Analyses
from amcl_serve.vectors.protocol import VectorStore


class Server:
    """Made with the application; models and collections come when it starts, and NotReady is raised before.

    `models` replaces those that the settings name.
    """

    def __init__(self, settings: Settings, models: Registry | None = None) -> None:
        """StartupError where the keys cannot be read."""
        self.settings = settings
        self.keys = Keys.load(settings)
        self.metrics = Metrics()
        self.in_flight = InFlight(settings.max_queue_items, settings.max_requests)
        self.ready = False
        self.stopping = False  # from a stop's beginning on: requests under way are still answered
        self.registry = models
        self.loader: Loader | None = None
        self.store: VectorStore | None = None
        self.store_threads: ThreadPoolExecutor | None = None
        self.evaluations: Evaluations | None = None
        self.calibrations: Calibrator | None = None
        self.analyses = Analyses(settings.analysis_threads)
        self.analysing = asyncio.Lock()  # one at a time: each takes the cores, and memory of its own

    @property
    def models(self) -> Registry:
        """The loaded models; NotReady before start-up ends and once draining begins."""
        if not self.ready or self.registry is None:
            raise NotReady("the server is starting or stopping; try again soon")
        return self.registry

    @property
    def loading(self) -> Loader:
        """What loads and unloads models; NotReady as `models`."""
        _ = self.models
        assert self.loader is not None
        return self.loader

    @property
    def collections(self) -> VectorStore:
        """The collections; NotReady before start-up ends."""
        if self.store is None:
            raise NotReady("the server is starting; try again soon")
        return self.store

    @property
    def jobs(self) -> Evaluations:
        """The evaluations; NotReady as `models`."""
        _ = self.models
        assert self.evaluations is not None
        return self.evaluations

    @property
    def calibrator(self) -> Calibrator:
        """What calibrates models; NotReady as `models`."""
        _ = self.models
        assert self.calibrations is not None
        return self.calibrations


def server_of(request: Request) -> Server:
    """The server of a request."""
    return server_in(request.app)


def server_in(app: FastAPI) -> Server:
    """The server of an application."""
    server: Server = app.state.server
    return server
