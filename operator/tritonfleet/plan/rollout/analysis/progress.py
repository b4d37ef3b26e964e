"""What one look at a step leaves for the next: constant in size, plain data, kept in the status."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from tritonfleet.plan.rollout.analysis.arrival import Arrivals
from tritonfleet.plan.rollout.analysis.pace import Pace
from tritonfleet.plan.rollout.analysis.probe import Probes
from tritonfleet.plan.rollout.analysis.share_check import Record


@dataclass(frozen=True, slots=True)
class Progress:
    """The analysis of one step, or of the bake time; `Progress()` begins one."""

    looks: int = 0
    """Windows whose counters were read."""
    last_end_seconds: float | None = None
    """End of the last window that was looked at or watched."""
    errors: Record = field(default_factory=Record)
    slow: Record = field(default_factory=Record)
    slow_bound_seconds: float | None = None
    objective: Record = field(default_factory=Record)
    objective_bound_seconds: float | None = None
    arrivals: Arrivals = field(default_factory=Arrivals)
    probes: Probes = field(default_factory=Probes)
    query_streaks: Mapping[str, int] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)

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
            "looks": self.looks,
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
                int(document["looks"]),
                document["lastEndSeconds"],
                Record.restore(document["errors"]),
                Record.restore(document["slow"]),
                document["slowBoundSeconds"],
                Record.restore(document["objective"]),
                document["objectiveBoundSeconds"],
                Arrivals.restore(document["arrivals"]),
                Probes.restore(document["probes"]),
                {str(name): int(streak) for name, streak in document["queryStreaks"].items()},
                Pace.restore(document["pace"]),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not the progress of an analysis: {error!r}") from error


def _anew(record: Record) -> Record:
    return Record(record.evidence.stable_only())
