"""Prometheus metrics: one registry per application, filled by a middleware, the routes and the engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import cache, partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from amcl_serve.engine.submissions import Timing
from amcl_serve.errors import AmclError
from amcl_serve.hosting.registry import LoadedModel
from amcl_serve.jobs.evaluations import Evaluations

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
TOTAL_TIME = "x-total-time"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Metrics:
    """Every metric of the server; names begin with amcl_."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "amcl_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.in_flight = Gauge("amcl_requests_in_flight", "Requests being answered", registry=self.registry)
        self.rejected = Counter(
            "amcl_rejected", "Requests, and images of answered requests, that ended in an error", ["reason"],
            registry=self.registry,
        )  # fmt: skip
        self.stage = Histogram(
            "amcl_stage_seconds", "Time of a request's stages", ["stage"], buckets=SECONDS, registry=self.registry
        )
        self.batch_size = Histogram(
            "amcl_batch_size", "Images in a call of the encoder", ["model"], buckets=SIZES, registry=self.registry
        )
        self.batch_seconds = Histogram(
            "amcl_batch_seconds", "Time of a call of the encoder", ["model"], buckets=SECONDS, registry=self.registry
        )
        self.evaluations = Counter(
            "amcl_evaluations", "Evaluations that ended, by how", ["status"], registry=self.registry
        )
        self.evaluations_open = Gauge(
            "amcl_evaluations_open", "Evaluations that run or wait", ["status"], registry=self.registry
        )
        # Kept, because finding them takes longer than counting.
        self._stages = [self.stage.labels(name) for name in ("queue", "decode", "inference", "encode")]
        self._requests = cache(self.requests.labels)
        self.models = ModelsCollector()
        self.registry.register(self.models)

    def watch(self, model: LoadedModel) -> None:
        """Follow a loaded model's engine."""
        model.engine.on_batch = partial(self._batch, model.name)

    def evaluation_ended(self, status: str) -> None:
        """Count one."""
        self.evaluations.labels(status).inc()

    def follow(self, jobs: Evaluations) -> None:
        """Ask it how many run and wait, whenever the metrics are asked for."""
        self.evaluations_open.labels("running").set_function(jobs.running)
        self.evaluations_open.labels("queued").set_function(jobs.waiting)

    def timed(self, timing: Timing, encode_seconds: float) -> None:
        """Count the stages of one request."""
        queue, decode, inference, encode = self._stages
        queue.observe(timing.queue_ms / 1000)
        decode.observe(timing.decode_ms / 1000)
        inference.observe(timing.inference_ms / 1000)
        encode.observe(encode_seconds)

    def images_rejected(self, items: Iterable[object]) -> None:
        """Count the errors among the images of an answered request."""
        for item in items:
            if isinstance(item, AmclError):
                self.rejected.labels(item.code).inc()

    def answered(self, scope: Scope, status: int) -> None:
        """Count a request, by its route's template: its path is whatever a client makes up."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._requests(method, getattr(scope.get("route"), "path", "unmatched"), str(status)).inc()

    def _batch(self, model: str, size: int, seconds: float) -> None:
        self.batch_size.labels(model).observe(size)
        self.batch_seconds.labels(model).observe(seconds)


class ModelsCollector(Collector):
    """What is read of the loaded models when the metrics are asked for, so that one that is gone leaves none."""

    def __init__(self) -> None:
        self.source: Callable[[], Iterable[LoadedModel]] = tuple  # none before the server has started

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """amcl_model_info, amcl_queue_depth and amcl_model_leases."""
        info = GaugeMetricFamily(
            "amcl_model_info", "1 for each loaded model", labels=["name", "digest", "precision", "provider"]
        )
        depth = GaugeMetricFamily("amcl_queue_depth", "Images admitted and not yet answered", labels=["model"])
        leases = GaugeMetricFamily("amcl_model_leases", "Requests that hold the model", labels=["model"])
        for model in self.source():
            info.add_metric([model.name, model.bundle.digest, model.encoder.precision, model.encoder.provider], 1)
            depth.add_metric([model.name], model.engine.depth)
            leases.add_metric([model.name], model.leases.taken)
        return (info, depth, leases)


class MetricsMiddleware:
    """Counts requests, and sends x-total-time in ms."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500  # of a request whose handler raised

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                spent = milliseconds((time.perf_counter() - started) * 1000)
                message["headers"] = [*message["headers"], (TOTAL_TIME.encode(), spent.encode())]
            await send(message)

        with self.metrics.in_flight.track_inprogress():
            try:
                await self.app(scope, receive, answer)
            finally:
                self.metrics.answered(scope, status)


def milliseconds(value: float) -> str:
    """A duration as the x-*-time headers show it."""
    return f"{value:.2f}"
