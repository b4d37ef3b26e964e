"""Which parts of the metrics system do not work, and when."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

from tritonfleet.sim.cluster import Pod
from tritonfleet.sim.faults import Blackout, Fault, PrometheusDown, SilentPods, Unscraped


@dataclass(frozen=True, slots=True)
class Outage:
    """Answers for one moment at a time, from the faults of a run."""

    faults: tuple[Fault, ...]

    def blackout(self, now: float) -> bool:
        """Tell whether nothing can be measured."""
        return any(isinstance(fault, Blackout) and _during(fault, now) for fault in self.faults)

    def prometheus_down(self, now: float) -> bool:
        """Tell whether Prometheus neither reads nor answers."""
        return self.blackout(now) or any(
            isinstance(fault, PrometheusDown) and _during(fault, now) for fault in self.faults
        )

    def answering(self, pods: Sequence[Pod], now: float) -> list[Pod]:
        """Return the pods that answer a scrape; those that do not are spread evenly over young and old."""
        share = max(
            (fault.share for fault in self.faults if isinstance(fault, Unscraped) and _during(fault, now)), default=0.0
        )
        return [pod for index, pod in enumerate(pods) if floor((index + 1) * share) == floor(index * share)]

    def silent(self, pods: Sequence[Pod], now: float) -> frozenset[int]:
        """Return the serial numbers of pods whose counters all show zero."""
        count = max(
            (fault.pods for fault in self.faults if isinstance(fault, SilentPods) and _during(fault, now)), default=0
        )
        return frozenset(pod.serial for pod in pods[:count])


def _during(fault: Blackout | PrometheusDown | Unscraped | SilentPods, now: float) -> bool:
    return fault.start_seconds <= now < fault.end_seconds
