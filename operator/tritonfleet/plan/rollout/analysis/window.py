"""Everything that one look sees."""

from dataclasses import dataclass, field

from tritonfleet.plan.rollout.analysis.counts import Revision


@dataclass(frozen=True, slots=True)
class ProbeRun:
    """Golden requests sent to the canary within one window."""

    right: int = 0
    wrong: int = 0
    """Answered wrong, or not at all."""
    first_wrong: str = ""
    """What was wrong with the first of them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the metrics source said to one custom query."""

    name: str
    values: tuple[float, ...] = ()
    """One for each series of the canary."""
    baseline: tuple[float, ...] = ()
    """The same for stable, where a baseline query is given."""
    error: str = ""
    """Why there is no answer; empty when there is one."""


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a step. Windows do not overlap, and each is known by its end."""

    end_seconds: float
    """Since the epoch."""
    canary: Revision = field(default_factory=Revision)
    stable: Revision = field(default_factory=Revision)
    desired_share: float = 0.0
    """Of all requests, that the route sends to the canary; 0..1."""
    unreachable: str = ""
    """Why no counters could be read; empty when they could."""
    probe: ProbeRun | None = None
    """None when no golden requests are configured or none could be sent."""
    probe_expected: bool = False
    """Whether golden requests are configured."""
    answers: tuple[Answer, ...] = ()
