"""What the analysis of a step says after one look."""

from dataclasses import dataclass

from tritonfleet.plan.rollout.analysis.outcome import CheckResult, Outcome, Why
from tritonfleet.plan.rollout.analysis.progress import Progress


@dataclass(frozen=True, slots=True)
class Verdict:
    """One look's outcome for the step."""

    outcome: Outcome
    """`PASSED`: the step is over. `FAILED`: roll back. Else: stay where you are."""
    why: Why
    message: str
    """A sentence with numbers, at most 256 characters."""
    results: tuple[CheckResult, ...]
    progress: Progress
    """Hand it to the next look."""
    needs_person: bool = False
    """Whether looking longer will not settle it."""
    unproven: bool = False
    """Whether it passed on golden requests alone, for want of traffic."""
