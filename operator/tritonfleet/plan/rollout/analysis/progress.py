"""What one window of a step leaves for the next: constant in size, plain data, kept in `status.rollout.analysis`.

`evaluation` reads the `Progress` of the last window and returns the next one; `plan/rollout` stores its `document()` in
the status, and restores it on the next pass. A window that is evaluated twice from the same progress gives the same
verdict, so a crash before the status is written changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from tritonfleet.plan.rollout.analysis.checks import Probes, TrafficShare
from tritonfleet.plan.rollout.analysis.mean_latency import MeanLatency
from tritonfleet.plan.rollout.analysis.proportions import ShareRecord


@dataclass(frozen=True, slots=True)
class Progress:
    """The analysis of one step, or of the bake time; `Progress()` begins one."""

    windows: int = 0
    """Windows whose counters were read."""
    last_end_seconds: float | None = None
    """End of the last window that was evaluated or recorded."""
    errors: ShareRecord = field(default_factory=ShareRecord)
    slow: ShareRecord = field(default_factory=ShareRecord)
    slow_bound_seconds: float | None = None
    objective: ShareRecord = field(default_factory=ShareRecord)
    objective_bound_seconds: float | None = None
    arrivals: TrafficShare = field(default_factory=TrafficShare)
    probes: Probes = field(default_factory=Probes)
    query_streaks: Mapping[str, int] = field(default_factory=dict)
    pace: MeanLatency = field(default_factory=MeanLatency)

    def next_step(self) -> Self:
        """Return where the next step begins: how stable varies is remembered, the comparison starts anew."""
        return type(self)(
            last_end_seconds=self.last_end_seconds,
            errors=_anew(self.errors),
            slow=_anew(self.slow),
            slow_bound_seconds=self.slow_bound_seconds,
            objective=_anew(self.objective),
            objective_bound_seconds=self.objective_bound_seconds,
        )

    def document(self) -> dict[str, Any]:
        """Return the progress as JSON-compatible data."""
        return {
            "windows": self.windows,
            "lastEndSeconds": self.last_end_seconds,
            "errors": self.errors.document(),
            "slow": self.slow.document(),
            "slowBoundSeconds": self.slow_bound_seconds,
            "objective": self.objective.document(),
            "objectiveBoundSeconds": self.objective_bound_seconds,
            "arrivals": self.arrivals.document(),
            "probes": self.probes.document(),
            "queryStreaks": dict(self.query_streaks),
            "pace": self.pace.document(),
        }

    @classmethod
    def restore(cls, document: Mapping[str, Any]) -> Self:
        """Return the progress that `document()` wrote.

        Raises:
            ValueError: It is not such a document. To begin the step anew is safe: it only takes longer.
        """
        try:
            return cls(
                int(document["windows"]),
                document["lastEndSeconds"],
                ShareRecord.restore(document["errors"]),
                ShareRecord.restore(document["slow"]),
                document["slowBoundSeconds"],
                ShareRecord.restore(document["objective"]),
                document["objectiveBoundSeconds"],
                TrafficShare.restore(document["arrivals"]),
                Probes.restore(document["probes"]),
                {str(name): int(streak) for name, streak in document["queryStreaks"].items()},
                MeanLatency.restore(document["pace"]),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not the progress of an analysis: {error!r}") from error


def _anew(record: ShareRecord) -> ShareRecord:
    return ShareRecord(record.evidence.stable_only())
