"""What the autoscaler decides, and what it decided it from."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tritonfleet.plan.autoscale.memory import Memory


class ScaleReason(StrEnum):
    """Why replicas are as they are; each word is part of the API."""

    AT_MAX_REPLICAS = "AtMaxReplicas"
    AT_MIN_REPLICAS = "AtMinReplicas"
    BACKLOG = "Backlog"
    BURST = "Burst"
    DEMAND = "Demand"
    DEMAND_FELL = "DemandFell"
    HOLDING = "Holding"
    LEARNING = "Learning"
    METRICS_PARTIAL = "MetricsPartial"
    METRICS_STALE = "MetricsStale"
    NO_TRAFFIC = "NoTraffic"
    NOT_SCHEDULABLE = "NotSchedulable"
    PODS_NOT_READY = "PodsNotReady"
    RESTARTED = "Restarted"
    ROLLING_OUT = "RollingOut"
    SEASON = "Season"
    SERIES_MISSING = "SeriesMissing"
    SLO_INFEASIBLE = "SLOInfeasible"
    STEADY = "Steady"
    THROUGHPUT = "Throughput"


@dataclass(frozen=True, slots=True)
class Attainment:
    """The SLO against what was measured over `window_seconds`."""

    met: bool | None
    """None when it cannot be measured."""
    reason: ScaleReason | None
    """Why it cannot be measured, or SLO_INFEASIBLE."""
    percentile_seconds: float | None
    """The policy's percentile of latency, as `source` has it."""
    source: str
    """`Gateway`, `Triton`, `Custom` or `Estimated`."""
    within: float | None
    """Share of requests within the target over the window, 0..1."""
    throughput: float | None
    """Requests per second that the ready replicas can carry, as modelled."""
    window_seconds: float
    burn_1h: float | None
    """Error budget spent over the last hour, as a multiple of what the SLO allows for it."""
    burn_6h: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One decision."""

    replicas: int
    """What the Deployment should ask for."""
    wanted: int
    """N*: what the demand asks for, before any limit."""
    reason: ScaleReason
    message: str
    """A sentence with numbers, ready for the status."""
    fresh: bool
    """Whether enough fresh data was there to decide from."""
    rate: float | None
    """Arrivals per second over the slow window; None when unknown."""
    capacity_per_replica: float | None
    """c(L) after the trim, requests per second; None before there is a fit or a hint."""
    forecast: float | None
    """Requests per second expected when a pod started now would be ready, if a season with proven skill is in use."""
    ready_seconds: float | None
    """The measured time to ready that is planned with."""
    metrics_age_seconds: float | None
    """Age of the oldest sample that the decision rests on."""
    attainment: Attainment
    memory: "Memory"
    """Hand it to the next decision."""
