"""What a caller hands the autoscaler, and the words it answers with.

A caller describes the objective once (`Policy`, from the spec) and what it observed at each tick (`Observation`: the
pods, the newest scrape of each, a latency histogram if there is one). `runtime/autoscaler.py` and `sim/scalers.py` do
so; `plan/scaling.py` builds both from Kubernetes objects. `ScaleReason` and `Attainment` are the vocabulary of the
answer, a `Verdict`, which is defined beside `decide()`. Nothing here computes anything. All times are seconds, and
moments are seconds since the epoch.
"""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Policy:
    """One ModelDeployment's objective, limits and batching, in SI units."""

    latency_target_seconds: float | None
    """L: the latency that `percentile` percent of requests must not exceed; None if only throughput is promised."""
    percentile: float = 99.0
    """In percent: 50, 90, 95, 99 or 99.9."""
    throughput: float = 0.0
    """Requests per second that the fleet must be able to carry at any time."""
    queue_seconds: float | None = None
    """Longest mean time that requests may wait in Triton's queue; None if it is not promised."""
    availability: float | None = None
    """Percent of requests that must not fail; None if it is not promised."""
    min_replicas: int = 1
    max_replicas: int = 1
    max_batch_size: int = 1
    """1 when Triton does not batch."""
    max_queue_delay_seconds: float = 0.0
    instances: int = 1
    """Executions that one pod runs side by side."""
    pooled: bool = False
    """Whether each request goes to the least busy pod, as gateways do, and not to a random one, as a Service does."""
    capacity_hint: float | None = None
    """Requests per second of one replica, used until the capacity is learned."""
    scale_up_factor: float = 4.0
    """Largest growth in one decision."""
    scale_down_percent: float = 34.0
    """Largest share of the replicas that one decision removes."""
    stabilization_seconds: float = 90.0
    """W0: the shortest scale-in stabilization window."""
    forecast: bool = True
    """Whether replicas are started ahead of the minutes in which bursts came before."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Which ideas take part in a decision. All do in the operator; the simulator leaves some out, to price them."""

    pooling: bool = True
    """A fleet carries more than its replicas would alone."""
    variance: bool = True
    """The variance of execution times lowers the capacity."""
    significance: bool = True
    """The number of executions decides whether a change is the model's or noise."""
    headroom: bool = True
    """The quantile of growth is solved from what was seen; otherwise it is fixed."""
    recurrence: bool = True
    """Replicas are started ahead of minutes in which bursts came before."""
    surplus: bool = True
    """More pods are started than are needed, so that enough of them are ready soon."""
    ripples: bool = True
    """Small falls wait the longer, the more often the replicas went up and down."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Triton's counters of one model on one server, all versions summed, as read at one moment."""

    success: float
    """nv_inference_request_success."""
    failure: float
    """nv_inference_request_failure, every reason."""
    inferences: float
    """nv_inference_count."""
    executions: float
    """nv_inference_exec_count."""
    request_us: float
    """nv_inference_request_duration_us."""
    queue_us: float
    """nv_inference_queue_duration_us."""
    compute_us: float
    """nv_inference_compute_{input,infer,output}_duration_us summed: Triton counts it once per inference request."""
    pending: float
    """nv_inference_pending_request_count, a gauge; 0 where this Triton lacks it."""
    probes: float = 0.0
    """Golden requests that the server has answered, as this process counted them; `success` includes them."""


@dataclass(frozen=True, slots=True)
class PodSample:
    """The newest answer of one pod's metrics port; a pod that did not answer has none, or an old one."""

    uid: str
    started_seconds: float
    """When the container started: with `uid` the identity of its counters."""
    revision: str
    at_seconds: float
    """When the answer arrived."""
    counters: Counters | None
    """None when the server answered without metrics of the model."""


@dataclass(frozen=True, slots=True)
class PodState:
    """One pod that exists and is not being deleted."""

    uid: str
    revision: str
    created_seconds: float
    ready_seconds: float | None
    """When it became ready; None while it is not."""
    schedulable: bool = True
    """False once the scheduler has reported that no node fits it."""


LATENCY_FRESH_SECONDS = 60.0
"""An older reading of the latency is ignored."""


@dataclass(frozen=True, slots=True)
class LatencyReading:
    """A latency histogram of all replicas together over the last minute, corrected for counter resets."""

    source: str
    """`Gateway`, `Triton` or `Custom`."""
    at_seconds: float
    percentile_seconds: float
    """The policy's percentile."""
    within: float
    """Share of requests that kept the target, 0..1; failures count as misses where the source counts them."""
    requests_per_second: float
    failed: float | None = None
    """Share of requests that failed, 0..1; None where the source does not count them."""


@dataclass(frozen=True, slots=True)
class History:
    """Past arrival rates to learn growth and bursts from, oldest first: a mean per step, NaN where unknown."""

    start_seconds: float
    step_seconds: float
    rates: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything that one decision may use besides the policy and its own memory."""

    replicas: int
    """What is asked of the serving Deployment now; 0 when there is none."""
    pods: tuple[PodState, ...]
    samples: tuple[PodSample, ...]
    serving: str | None
    """Hash of the revision that requests go to."""
    rolling: bool = False
    """Whether a rollout is under way: no replica is removed then."""
    latency: LatencyReading | None = None
    schedulable: int | None = None
    """Replicas that the nodes can hold, including those that run; None if unknown."""
    history: History | None = None
    """Given once after a start; else None."""


class ScaleReason(StrEnum):
    """Why the replica count is what it is; each value is part of the API."""

    AT_MAX_REPLICAS = "AtMaxReplicas"
    AT_MIN_REPLICAS = "AtMinReplicas"
    BACKLOG = "Backlog"
    BURST = "Burst"
    DEMAND = "Demand"
    DEMAND_FELL = "DemandFell"
    SCALE_DOWN_STABILIZED = "ScaleDownStabilized"
    LEARNING = "Learning"
    METRICS_PARTIAL = "MetricsPartial"
    METRICS_STALE = "MetricsStale"
    NO_TRAFFIC = "NoTraffic"
    NOT_SCHEDULABLE = "NotSchedulable"
    PODS_NOT_READY = "PodsNotReady"
    RESTARTED = "Restarted"
    ROLLING_OUT = "RollingOut"
    SEASONAL_FORECAST = "SeasonalForecast"
    SERIES_MISSING = "SeriesMissing"
    SLO_INFEASIBLE = "SLOInfeasible"
    SLO_UNCERTAIN = "SLOUncertain"
    STEADY = "Steady"
    THROUGHPUT = "Throughput"


@dataclass(frozen=True, slots=True)
class Attainment:
    """The SLO against what was measured over `window_seconds`."""

    met: bool | None
    """None if it cannot be measured."""
    reason: ScaleReason | None
    """Why it cannot be measured, SLO_UNCERTAIN where an estimate cannot tell, or SLO_INFEASIBLE."""
    percentile_seconds: float | None
    """The policy's percentile of latency, as `source` has it."""
    source: str
    """`Gateway`, `Triton`, `Custom` or `Estimated`."""
    within: float | None
    """Share of requests within the target over the window, 0..1."""
    throughput: float | None
    """Requests per second that the ready replicas can carry, according to the model."""
    window_seconds: float
    burn_1h: float | None
    """Error budget spent over the last hour, as a multiple of what the SLO allows for it."""
    burn_6h: float | None
    available: float | None = None
    """Share of requests that did not fail over the window, 0..1."""
    queue_seconds: float | None = None
    """Mean time that requests waited in Triton's queue over the window."""
