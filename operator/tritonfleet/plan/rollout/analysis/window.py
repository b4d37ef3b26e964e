"""Everything that one look sees."""

from dataclasses import dataclass, field

from tritonfleet.plan.rollout.analysis.counts import Revision


@dataclass(frozen=True, slots=True)
class Beat:
    """What both revisions did between two scrapes."""

    canary: int = 0
    """Requests that succeeded."""
    canary_seconds: float = 0.0
    """What they took, added up."""
    stable: int = 0
    stable_seconds: float = 0.0


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
    untimed: str = ""
    """Why latencies, which are measured elsewhere, could not be read; empty when they could."""
    beats: tuple[Beat, ...] | None = None
    """What was counted from one scrape to the next, where nothing keeps a histogram; None where something does."""
    probe: ProbeRun | None = None
    """None when no golden requests are configured or none could be sent."""
    probe_expected: bool = False
    """Whether golden requests are configured."""
    answers: tuple[Answer, ...] = ()
