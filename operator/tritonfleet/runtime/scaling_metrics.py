"""What the operator's metrics say of scaling: the newest verdict of each ModelDeployment, and how the ticks go."""

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tritonfleet.adapters.store import Key
from tritonfleet.plan.autoscale import Verdict

SCRAPE_BUCKETS_SECONDS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2)
TICK_BUCKETS_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 4, 5, 10, 20)
QUERY_BUCKETS_SECONDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15)

Value = Callable[[Verdict], float | None]

_GAUGES: Final[tuple[tuple[str, str, Value], ...]] = (
    ("replicas_desired", "Replicas decided on, limits applied", lambda verdict: verdict.replicas),
    ("replicas_wanted", "Replicas that the demand asks for, before any limit", lambda verdict: verdict.wanted),
    ("arrivals_per_second", "Requests that arrive, over the slow window", lambda verdict: verdict.rate),
    (
        "replica_capacity_per_second",
        "Requests that one replica can take within the SLO, as learned",
        lambda verdict: verdict.capacity_per_replica,
    ),
    ("metrics_fresh", "1 if the decision rests on enough fresh metrics", lambda verdict: float(verdict.fresh)),
    ("metrics_age_seconds", "Age of the oldest sample decided from", lambda verdict: verdict.metrics_age_seconds),
    ("slo_met", "1 if the SLO is met, 0 if not", lambda verdict: verdict.attainment.met),
    ("slo_attainment_ratio", "Requests within the target, of all", lambda verdict: verdict.attainment.within),
)


class _Verdicts(Collector):
    """Turns verdicts into gauges when somebody asks: a tick costs nothing, and what is forgotten is gone."""

    def __init__(self, verdicts: dict[Key, Verdict]) -> None:
        self._verdicts = verdicts

    def collect(self) -> Iterator[GaugeMetricFamily]:
        verdicts = list(self._verdicts.items())
        for name, text, value in _GAUGES:
            yield _gauge(name, text, [(list(key), value(verdict)) for key, verdict in verdicts])
        yield _gauge(
            "latency_seconds",
            "The percentile of latency that the SLO is about",
            [([*key, each.attainment.source], each.attainment.percentile_seconds) for key, each in verdicts],
            "source",
        )
        yield _gauge(
            "slo_error_budget_burn",
            "Error budget spent over the window, as a multiple of what the SLO allows for it",
            [
                row
                for key, each in verdicts
                for row in (([*key, "1h"], each.attainment.burn_1h), ([*key, "6h"], each.attainment.burn_6h))
            ],
            "window",
        )


def _gauge(name: str, text: str, rows: list[tuple[list[str], float | None]], *more: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"tritonfleet_{name}", text, labels=["namespace", "modeldeployment", *more])
    for labels, value in rows:
        if value is not None:
            family.add_metric(labels, float(value))
    return family


class ScalingMetrics:
    """Part of the operator's registry; every method is cheap enough for the hot path."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.verdicts: dict[Key, Verdict] = {}
        """The newest of each ModelDeployment."""
        registry.register(_Verdicts(self.verdicts))
        self.tick_seconds = Histogram(
            "tritonfleet_tick_seconds", "Time to ask every pod and decide for everybody",
            buckets=TICK_BUCKETS_SECONDS, registry=registry,
        )  # fmt: skip
        self.missed_ticks = Counter(
            "tritonfleet_ticks_missed", "Ticks left out because the one before took too long", registry=registry
        )
        self.failures = Counter(
            "tritonfleet_scaling_failures", "Errors that left a ModelDeployment without a decision", ["step"],
            registry=registry,
        )  # fmt: skip
        self._scrapes = Counter(
            "tritonfleet_pod_scrapes", "Pods asked for their metrics, by what came of it", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self._scrape_seconds = Histogram(
            "tritonfleet_pod_scrape_seconds", "Time until a pod had answered or failed",
            buckets=SCRAPE_BUCKETS_SECONDS, registry=registry,
        )  # fmt: skip
        self._queries = Counter(
            "tritonfleet_prometheus_queries", "Queries to Prometheus", ["query", "outcome"], registry=registry
        )
        self._query_seconds = Histogram(
            "tritonfleet_prometheus_query_seconds", "Time until Prometheus had answered or failed", ["query"],
            buckets=QUERY_BUCKETS_SECONDS, registry=registry,
        )  # fmt: skip

    def scraped(self, outcome: str, seconds: float) -> None:
        """Count a pod that was asked."""
        self._scrapes.labels(outcome).inc()
        self._scrape_seconds.observe(seconds)

    def queried(self, query: str, outcome: str, seconds: float) -> None:
        """Count a query to Prometheus."""
        self._queries.labels(query, outcome).inc()
        self._query_seconds.labels(query).observe(seconds)
