"""The operator's metrics, under controller-runtime's names where it has any, so that its dashboards work."""

import asyncio
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tritonfleet.adapters.store import Key
from tritonfleet.runtime.rollout_metrics import RolloutMetrics
from tritonfleet.runtime.scaling_metrics import ScalingMetrics

CONTROLLER = "modeldeployment"
LATENCY_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
WRITE_VERBS = {"POST": "create", "PUT": "update", "PATCH": "apply", "DELETE": "delete"}


@dataclass(slots=True)
class _Change:
    """A generation of a ModelDeployment that is being carried out."""

    generation: int
    since: float
    written: bool = False


class Telemetry:
    """One registry per operator; every method is cheap enough for the hot path."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._clock = asyncio.get_running_loop().time
        self._changes: dict[Key, _Change] = {}
        self._define_work()
        self._define_traffic()
        self.scaling = ScalingMetrics(self.registry)
        self.rollouts = RolloutMetrics(self.registry)

    def _define_work(self) -> None:
        registry = self.registry
        self.depth = Gauge("workqueue_depth", "Keys that are due", ["name"], registry=registry).labels(CONTROLLER)
        self.longest_running = Gauge(
            "workqueue_longest_running_processor_seconds", "How long the slowest worker has had its key", ["name"],
            registry=registry,
        ).labels(CONTROLLER)  # fmt: skip
        self.retries = Counter("workqueue_retries", "Keys that went into backoff", ["name"], registry=registry).labels(
            CONTROLLER
        )
        self.leader = Gauge("leader_election_master_status", "1 while this process leads", ["name"], registry=registry)
        self.reconciles = Counter(
            "controller_runtime_reconcile", "Reconciles by result", ["controller", "result"], registry=registry
        )
        self.errors = Counter(
            "controller_runtime_reconcile_errors", "Failed reconciles by reason", ["controller", "reason"],
            registry=registry,
        )  # fmt: skip
        self.reconcile_seconds = Histogram(
            "controller_runtime_reconcile_time_seconds", "Time a key was worked on", ["controller"],
            buckets=LATENCY_BUCKETS_SECONDS, registry=registry,
        ).labels(CONTROLLER)  # fmt: skip
        self.watch_misses = Counter(
            "tritonfleet_watch_misses", "Objects that a list showed but no watch had", ["kind"], registry=registry
        )

    def _define_traffic(self) -> None:
        registry = self.registry
        self._requests = Counter(
            "rest_client_requests", "Requests to the API server", ["code", "method", "kind"], registry=registry
        )
        self._writes = Counter("tritonfleet_writes", "Writes that took effect", ["kind", "verb"], registry=registry)
        self._first_write = Histogram(
            "tritonfleet_change_to_first_write_seconds", "From a change of the spec to the first write of a child",
            buckets=LATENCY_BUCKETS_SECONDS, registry=registry,
        )  # fmt: skip
        self._to_ready = Histogram(
            "tritonfleet_change_to_ready_seconds", "From a change of the spec to Ready",
            buckets=LATENCY_BUCKETS_SECONDS, registry=registry,
        )  # fmt: skip

    def requested(self, method: str, kind: str, code: str) -> None:
        """Count a request that has ended; `code` is the status, or `<error>` for none."""
        self._requests.labels(code, method, kind).inc()
        if method in WRITE_VERBS and code.startswith("2"):
            self._writes.labels(kind, WRITE_VERBS[method]).inc()

    def changed(self, key: Key, generation: int) -> None:
        """Start the clock of a new generation."""
        current = self._changes.get(key)
        if current is None or current.generation < generation:
            self._changes[key] = _Change(generation, self._clock())

    def wrote(self, key: Key) -> None:
        """Stop the clock for the first write."""
        change = self._changes.get(key)
        if change is not None and not change.written:
            change.written = True
            self._first_write.observe(self._clock() - change.since)

    def ready(self, key: Key, generation: int) -> None:
        """Stop the clock for Ready."""
        change = self._changes.get(key)
        if change is not None and change.generation <= generation:
            del self._changes[key]
            self._to_ready.observe(self._clock() - change.since)

    def forget(self, key: Key) -> None:
        """Drop the clock of a ModelDeployment that is gone."""
        self._changes.pop(key, None)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
