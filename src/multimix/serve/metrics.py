"""Counters for Prometheus, in a registry of their own, without anything that comes from a client."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one service."""

    def __init__(self, waiting: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "multimix_requests", "Requests to /v1/predict by HTTP status.", ["status"], registry=self.registry
        )
        self.images = Counter(
            "multimix_images",
            "Images by outcome, ok, failed or rejected.",
            ["status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "multimix_request_seconds",
            "Time from a request to its answer.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batches = Histogram(
            "multimix_batch_images",
            "Images that went through the network together.",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )
        self.model_seconds = Histogram(
            "multimix_model_seconds", "Time of one batch.", buckets=_SECONDS, registry=self.registry
        )
        Gauge(
            "multimix_waiting_images", "Images waiting for the model.", registry=self.registry
        ).set_function(waiting)
