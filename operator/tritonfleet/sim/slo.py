"""What counts as a good answer."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Slo:
    """A request is good when it succeeds within `latency_seconds`; `percentile` percent of them should be."""

    latency_seconds: float
    percentile: float = 99.0
    """In percent, between 0 and 100."""

    def __post_init__(self) -> None:
        if self.latency_seconds <= 0 or not 0 < self.percentile < 100:
            raise ValueError("slo: latency_seconds must be above 0, and percentile between 0 and 100")
