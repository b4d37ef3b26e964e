"""How much worse is too much, how sure is sure, and how long to look."""

from dataclasses import dataclass
from enum import StrEnum


class OnTooFewRequests(StrEnum):
    """What becomes of a step that never sees enough requests."""

    HOLD = "Hold"
    ON_PROBE = "PassOnProbe"
    """Go on when every golden request was answered right; the verdict says that nothing else is proven."""
    ROLLBACK = "Rollback"


@dataclass(frozen=True, slots=True)
class Margin:
    """How much worse than stable a canary may be; it must exceed both to count as worse."""

    ratio: float
    """Of the canary's share to stable's, at least 1."""
    difference: float
    """Between the two shares, 0..1."""

    def limit(self, stable_share: float) -> float:
        """Return the largest share that is not worse than `stable_share`."""
        return max(self.ratio * stable_share, stable_share + self.difference)


@dataclass(frozen=True, slots=True)
class LatencyObjective:
    """No more than `share` of requests may take longer than `seconds`."""

    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class Threshold:
    """What the answer to a custom query must keep; at least one of `limit` and `max_ratio` is set."""

    name: str
    above_is_bad: bool = True
    """Whether a value above `limit` fails (else: below)."""
    limit: float | None = None
    max_ratio: float | None = None
    """Of the canary's value to the baseline's; where low is bad, the smallest such ratio."""

    @property
    def key(self) -> str:
        """Return what tells it from another threshold on the same answer."""
        return self.name if self.above_is_bad else f"{self.name}/min"


@dataclass(frozen=True, slots=True)
class Policy:
    """One rollout's analysis. The defaults are those whose error rates `make bench-analysis` measures."""

    looks: int = 10
    """Windows that a step looks at before it may pass."""
    max_looks: int = 30
    """Windows after which a person has to decide."""
    confirmations: int = 2
    """Looks running that must agree before a canary fails."""
    alpha: float = 0.02
    """Chance of a wrong `clearly worse` in a whole step; divided by `looks`."""
    late_alpha: float = 0.0003
    """p-value under which a canary beyond the margins fails once the planned looks are over."""
    error_margin: Margin = Margin(ratio=1.5, difference=0.002)
    compare_latency: bool = True
    """Whether `slow` is asked; it needs a latency histogram."""
    slow_margin: Margin = Margin(ratio=1.5, difference=0.005)
    error_limit: float | None = None
    """Share of errors that the canary may not exceed, whatever stable does; None for no such objective."""
    latency: LatencyObjective | None = None
    hard_share: float = 0.2
    """Share of errors at which a canary fails at once."""
    hard_requests: int = 50
    """Requests that the hard limit needs."""
    min_requests: int = 500
    """Requests of each revision without which errors are not judged good."""
    min_slow_requests: int = 1000
    share_tolerance: float = 2.0
    """Factor by which the measured share of traffic may differ from the desired one."""
    load_tolerance: float = 2.0
    """Factor by which a pod of the canary may have more requests than one of stable for latencies to be compared."""
    on_too_few: OnTooFewRequests = OnTooFewRequests.HOLD
    min_probes: int = 30
    """Golden requests answered right without which `PassOnProbe` does not pass."""
    thresholds: tuple[Threshold, ...] = ()
    bake_seconds: float = 600.0
