"""The operator's metrics and its log lines.

`Telemetry` is the registry of one operator. Its metrics have controller-runtime's names where that has any, so that its
dashboards work; docs/reference/metrics.md lists them all. `ScalingMetrics` and `RolloutMetrics` export
verdicts and rollout states: they become gauges only when scraped, so a tick costs nothing, and what is
deleted disappears. Log lines are JSON objects: a constant message, and variable data in separate fields.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tritonfleet.adapters.store import Key
from tritonfleet.plan.autoscale import Verdict
from tritonfleet.plan.rollout import EPOCH, Phase, State
from tritonfleet.plan.rollout.analysis import Window
from tritonfleet.plan.world import Manifest

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

SCRAPE_BUCKETS_SECONDS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2)
TICK_BUCKETS_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 4, 5, 10, 20)
QUERY_BUCKETS_SECONDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15)

Value = Callable[[Verdict], float | None]

_GAUGES: Final[tuple[tuple[str, str, Value], ...]] = (
    ("replicas_desired", "Desired replicas, with limits applied", lambda verdict: verdict.replicas),
    ("replicas_uncapped", "Replicas that the demand needs, before any limit", lambda verdict: verdict.wanted),
    ("arrivals_per_second", "Arriving requests per second, over the slow window", lambda verdict: verdict.rate),
    (
        "replica_capacity_per_second",
        "Learned requests per second that one replica can serve within the SLO",
        lambda verdict: verdict.capacity_per_replica,
    ),
    ("metrics_fresh", "1 if enough metrics were fresh to scale in", lambda verdict: float(verdict.fresh)),
    ("metrics_age_seconds", "Age of the oldest sample used", lambda verdict: verdict.metrics_age_seconds),
    ("slo_met", "1 if the SLO is met, 0 if not", lambda verdict: verdict.attainment.met),
    ("slo_attainment_ratio", "Share of requests within the target", lambda verdict: verdict.attainment.within),
    (
        "availability_ratio",
        "Share of requests answered without an error",
        lambda verdict: verdict.attainment.available,
    ),
    ("queue_seconds", "Mean time in Triton's queue", lambda verdict: verdict.attainment.queue_seconds),
)

_LABELS: Final = ("namespace", "modeldeployment")

CONTROLLER = "modeldeployment"
LATENCY_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
WRITE_VERBS = {"POST": "create", "PUT": "update", "PATCH": "apply", "DELETE": "delete"}


class JsonFormatter(logging.Formatter):
    """One line per record: time, level, logger, msg, then the fields given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def about(key: Key, **fields: object) -> dict[str, object]:
    """Return the fields of a line about one ModelDeployment."""
    return {"namespace": key.namespace, "modeldeployment": key.name, **fields}


def configure_logging(level: str) -> None:
    """Send every logger's lines to stderr as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # These log every request and every watch event at INFO; problems are at WARNING.
    for name in ("kopf", "aiohttp.access", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


class _Verdicts(Collector):
    """Turns verdicts into gauges when scraped: a tick costs nothing, and deleted ones disappear."""

    def __init__(self, verdicts: dict[Key, Verdict]) -> None:
        self._verdicts = verdicts

    def collect(self) -> Iterator[GaugeMetricFamily]:
        verdicts = list(self._verdicts.items())
        for name, text, value in _GAUGES:
            yield _gauge(name, text, [(list(key), value(verdict)) for key, verdict in verdicts])
        yield _gauge(
            "latency_seconds",
            "Latency at the SLO's percentile",
            [([*key, each.attainment.source], each.attainment.percentile_seconds) for key, each in verdicts],
            "source",
        )
        yield _gauge(
            "slo_error_budget_burn",
            "Error budget burn rate over the window: 1 spends exactly the budget",
            [
                row
                for key, each in verdicts
                for row in (([*key, "1h"], each.attainment.burn_1h), ([*key, "6h"], each.attainment.burn_6h))
            ],
            "window",
        )


def _gauge(name: str, text: str, rows: Sequence[tuple[list[str], float | None]], *more: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"tritonfleet_{name}", text, labels=["namespace", "modeldeployment", *more])
    for labels, value in rows:
        if value is not None:
            family.add_metric(labels, float(value))
    return family


class ScalingMetrics:
    """Part of the operator's registry; every method is cheap enough for the hot path."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.verdicts: dict[Key, Verdict] = {}
        """The latest verdict of each ModelDeployment."""
        registry.register(_Verdicts(self.verdicts))
        self.tick_seconds = Histogram(
            "tritonfleet_tick_seconds", "Time to scrape all pods and make all decisions",
            buckets=TICK_BUCKETS_SECONDS, registry=registry,
        )  # fmt: skip
        self.missed_ticks = Counter(
            "tritonfleet_ticks_missed", "Ticks skipped because the previous one took too long", registry=registry
        )
        self.failures = Counter(
            "tritonfleet_scaling_failures", "Errors that prevented a decision", ["step"],
            registry=registry,
        )  # fmt: skip
        self._scrapes = Counter(
            "tritonfleet_pod_scrapes", "Scrapes of pods by outcome", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self._scrape_seconds = Histogram(
            "tritonfleet_pod_scrape_seconds", "Time of a scrape, successful or not",
            buckets=SCRAPE_BUCKETS_SECONDS, registry=registry,
        )  # fmt: skip
        self._queries = Counter(
            "tritonfleet_prometheus_queries", "Queries to Prometheus", ["query", "outcome"], registry=registry
        )
        self._query_seconds = Histogram(
            "tritonfleet_prometheus_query_seconds", "Time of a Prometheus query, successful or not", ["query"],
            buckets=QUERY_BUCKETS_SECONDS, registry=registry,
        )  # fmt: skip

        self._rows_skipped = Counter(
            "tritonfleet_prometheus_rows_skipped", "Series from Prometheus that cannot be read", ["query"],
            registry=registry,
        )  # fmt: skip

    def scraped(self, outcome: str, seconds: float) -> None:
        """Count a scrape of a pod."""
        self._scrapes.labels(outcome).inc()
        self._scrape_seconds.observe(seconds)

    def queried(self, query: str, outcome: str, seconds: float) -> None:
        """Count a query to Prometheus."""
        self._queries.labels(query, outcome).inc()
        self._query_seconds.labels(query).observe(seconds)

    def skipped(self, query: str, rows: int) -> None:
        """Count series that cannot be read."""
        self._rows_skipped.labels(query).inc(rows)


@dataclass(frozen=True, slots=True)
class _Readiness:
    """What the last status says of one ModelDeployment."""

    ready: bool
    reason: str
    stalled: bool
    wanted: int | None
    serving: int


class ReadinessMetrics(Collector):
    """One series per ModelDeployment: whether it is ready, and why not; deleted ones disappear."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._known: dict[Key, _Readiness] = {}
        registry.register(self)

    def saw(self, key: Key, status: Manifest, replicas: int | None) -> None:
        """Record a status; `replicas` is the number of desired pods, None to keep the last one."""
        conditions = {each["type"]: each for each in status.get("conditions") or ()}
        ready, before = conditions.get("Ready", {}), self._known.get(key)
        self._known[key] = _Readiness(
            ready=ready.get("status") == "True",
            reason=str(ready.get("reason", "")),
            stalled=conditions.get("Stalled", {}).get("status") == "True",
            wanted=replicas if replicas is not None or before is None else before.wanted,
            serving=int(status.get("readyReplicas") or 0),
        )

    def forget(self, key: Key) -> None:
        """Drop a ModelDeployment that is gone."""
        self._known.pop(key, None)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the gauges."""
        known = list(self._known.items())
        ready = [([*key, each.reason], float(each.ready)) for key, each in known]
        yield _gauge("modeldeployment_ready", "1 if `Ready` is true, by its reason", ready, "reason")
        stalled = [([*key], float(each.stalled)) for key, each in known]
        yield _gauge("modeldeployment_stalled", "1 if waiting does not help", stalled)
        wanted = [([*key], float(each.wanted) if each.wanted is not None else None) for key, each in known]
        yield _gauge("modeldeployment_replicas_wanted", "Desired pods", wanted)
        serving = [([*key], float(each.serving)) for key, each in known]
        yield _gauge("modeldeployment_replicas_ready", "Ready pods of the serving revision", serving)


class _States(Collector):
    """Turns states into gauges when scraped: deleted ones disappear."""

    def __init__(self, states: dict[Key, State], now: Callable[[], datetime]) -> None:
        self._states = states
        self._now = now

    def collect(self) -> Iterator[GaugeMetricFamily]:
        phase = GaugeMetricFamily(
            "tritonfleet_rollout_phase", "1 for the phase of the rollout", labels=[*_LABELS, "phase"]
        )
        weight = GaugeMetricFamily("tritonfleet_rollout_weight", "Percent of traffic to the canary", labels=_LABELS)
        age = GaugeMetricFamily(
            "tritonfleet_rollout_last_window_age_seconds",
            "Time since the end of the last evaluated window of this step",
            labels=_LABELS,
        )
        for key, state in list(self._states.items()):
            phase.add_metric([*key, state.phase.value], 1.0)
            weight.add_metric(key, float(state.applied_weight))
            progress = state.attempt.analysis if state.attempt is not None else None
            looked = progress.last_end_seconds if progress is not None else None
            if state.phase is Phase.ANALYZING and looked is not None:
                age.add_metric(key, max(0.0, self._now().timestamp() - looked))
        yield from (phase, weight, age)


class RolloutMetrics:
    """Part of the operator's registry; every method is cheap enough for the hot path."""

    def __init__(self, registry: CollectorRegistry, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._states: dict[Key, State] = {}
        self._counted: dict[Key, datetime] = {}
        registry.register(_States(self._states, now))
        self._transitions = Counter(
            "tritonfleet_rollout_transitions", "Transitions of rollouts", ["source", "target", "reason"],
            registry=registry,
        )  # fmt: skip
        self._rollbacks = Counter("tritonfleet_rollbacks", "Rollbacks by their cause", ["reason"], registry=registry)
        self._windows = Counter(
            "tritonfleet_rollout_windows", "Analysis windows by outcome", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self._heartbeat = Gauge(
            "tritonfleet_rollout_heartbeat_timestamp_seconds", "Time of the last tick of the canary monitor",
            registry=registry,
        )  # fmt: skip
        self.failures = Counter(
            "tritonfleet_rollout_failures", "Errors that prevented evidence about rollouts", ["step"], registry=registry
        )

    def ticked(self, now: datetime) -> None:
        """Record a tick of the canary monitor."""
        self._heartbeat.set(now.timestamp())

    def count_window(self, window: Window) -> None:
        """Count a window."""
        outcome = "Unreachable" if window.unreachable else "Untimed" if window.untimed else "Read"
        self._windows.labels(outcome).inc()

    def saw(self, key: Key, state: State | None) -> None:
        """Record a written state, and count the transitions since the previous one.

        The transitions of a state that is seen for the first time were counted by the process that wrote it.
        """
        since = self._counted.get(key)
        self._counted[key] = state.history[0].at if state is not None and state.history else since or EPOCH
        if state is None:
            self._states.pop(key, None)
            return
        self._states[key] = state
        for transition in state.history:
            if since is None or transition.at <= since:
                break
            self._transitions.labels(transition.source.value, transition.target.value, transition.reason).inc()
            if transition.target is Phase.ROLLING_BACK:
                self._rollbacks.labels(transition.reason).inc()

    def forget(self, key: Key) -> None:
        """Drop a ModelDeployment that is gone."""
        self._states.pop(key, None)
        self._counted.pop(key, None)


@dataclass(slots=True)
class _Change:
    """A generation of a ModelDeployment that is being reconciled."""

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
        self.readiness = ReadinessMetrics(self.registry)
        self.scaling = ScalingMetrics(self.registry)
        self.rollouts = RolloutMetrics(self.registry)

    def _define_work(self) -> None:
        registry = self.registry
        self.depth = Gauge("workqueue_depth", "Keys that are due", ["name"], registry=registry).labels(CONTROLLER)
        self.longest_running = Gauge(
            "workqueue_longest_running_processor_seconds", "Age of the longest running reconcile", ["name"],
            registry=registry,
        ).labels(CONTROLLER)  # fmt: skip
        self.retries = Counter("workqueue_retries", "Retries with backoff", ["name"], registry=registry).labels(
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
            "controller_runtime_reconcile_time_seconds", "Time of a reconcile", ["controller"],
            buckets=LATENCY_BUCKETS_SECONDS, registry=registry,
        ).labels(CONTROLLER)  # fmt: skip
        self.watch_misses = Counter(
            "tritonfleet_watch_misses", "Objects found by a sweep that a watch missed", ["kind"], registry=registry
        )

        self.unreadable = Counter(
            "tritonfleet_unreadable_objects", "Objects that were skipped because they cannot be read", ["kind"],
            registry=registry,
        )  # fmt: skip

    def _define_traffic(self) -> None:
        registry = self.registry
        self._requests = Counter(
            "rest_client_requests", "Requests to the API server", ["code", "method", "kind"], registry=registry
        )
        self._writes = Counter("tritonfleet_writes", "Writes that took effect", ["kind", "verb"], registry=registry)
        self._first_write = Histogram(
            "tritonfleet_change_to_first_write_seconds", "Time from a spec change to the first write of a child",
            buckets=LATENCY_BUCKETS_SECONDS, registry=registry,
        )  # fmt: skip
        self._to_ready = Histogram(
            "tritonfleet_change_to_ready_seconds", "Time from a spec change to Ready",
            buckets=LATENCY_BUCKETS_SECONDS, registry=registry,
        )  # fmt: skip

    def requested(self, method: str, kind: str, code: str) -> None:
        """Count a finished request; `code` is the status, or `<error>` for none."""
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
        """Drop the clock and the readiness of a ModelDeployment that is gone."""
        self._changes.pop(key, None)
        self.readiness.forget(key)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
