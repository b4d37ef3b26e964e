"""What the autoscaler sees of one ModelDeployment at one tick. Times are seconds since the epoch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counters:
    """Triton's counters of one model on one server, all versions added up, as read at one moment."""

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
    """nv_inference_compute_{input,infer,output}_duration_us added up: Triton counts it once per inference request."""
    pending: float
    """nv_inference_pending_request_count, a gauge; 0 where this Triton lacks it."""


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
    """None when the server answered without a line about the model."""


@dataclass(frozen=True, slots=True)
class PodState:
    """One pod that exists and is not being deleted."""

    uid: str
    revision: str
    created_seconds: float
    ready_seconds: float | None
    """When it became ready; None while it is not."""
    schedulable: bool = True
    """False once the scheduler said that no node can take it."""


@dataclass(frozen=True, slots=True)
class LatencyReading:
    """What a latency histogram, reset-aware and over the last minute, says of all replicas together."""

    source: str
    """`Gateway`, `Triton` or `Custom`."""
    at_seconds: float
    percentile_seconds: float
    """The policy's percentile."""
    within: float
    """Share of requests that kept the target, 0..1; failures count as misses where the source counts them."""
    requests_per_second: float


@dataclass(frozen=True, slots=True)
class History:
    """Arrival rates of the past, oldest first, for the season: a mean per step, NaN where nothing is known."""

    start_seconds: float
    step_seconds: float
    rates: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything one decision may look at besides the policy and its own memory."""

    replicas: int
    """What the serving Deployment asks for now; 0 when there is none."""
    pods: tuple[PodState, ...]
    samples: tuple[PodSample, ...]
    serving: str | None
    """Hash of the revision that requests go to."""
    rolling: bool = False
    """Whether a change of revision is under way: nothing is taken away then."""
    latency: LatencyReading | None = None
    schedulable: int | None = None
    """Replicas that the nodes can hold, those that run included; None when nobody counted."""
    history: History | None = None
    """Given once, after a start; None afterwards."""
