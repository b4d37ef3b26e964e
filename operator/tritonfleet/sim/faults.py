"""What goes wrong during a run, and when. Times are seconds since the trace began; an end may be infinite."""

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class Blackout:
    """No metrics system answers."""

    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, slots=True)
class PrometheusDown:
    """Prometheus does not answer; pods do."""

    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, slots=True)
class Unscraped:
    """Some pods cannot be read, by anybody; they serve on."""

    start_seconds: float
    end_seconds: float
    share: float = 0.5


@dataclass(frozen=True, slots=True)
class SilentPods:
    """The oldest pods answer without counting anything; they serve on."""

    start_seconds: float
    end_seconds: float = inf
    pods: int = 1


@dataclass(frozen=True, slots=True)
class CounterReset:
    """Every pod's counters start at zero again, under the same identity."""

    at_seconds: float


@dataclass(frozen=True, slots=True)
class Slower:
    """Executions take `factor` times as long."""

    start_seconds: float
    end_seconds: float = inf
    factor: float = 1.6


@dataclass(frozen=True, slots=True)
class SlowStart:
    """Pods created meanwhile take `factor` times as long to be ready."""

    start_seconds: float
    end_seconds: float = inf
    factor: float = 3.0


@dataclass(frozen=True, slots=True)
class NodesFull:
    """The nodes hold no more than `pods` pods, whatever the plant says."""

    start_seconds: float
    end_seconds: float
    pods: int


@dataclass(frozen=True, slots=True)
class PodLoss:
    """The oldest ready pods die with everything they hold; new ones are created in their place."""

    at_seconds: float
    pods: int = 1


@dataclass(frozen=True, slots=True)
class ForeignWrite:
    """Somebody else writes the replicas."""

    at_seconds: float
    replicas: int


Fault = (
    Blackout
    | PrometheusDown
    | Unscraped
    | SilentPods
    | CounterReset
    | Slower
    | SlowStart
    | NodesFull
    | PodLoss
    | ForeignWrite
)
