"""What the operator has seen of a canary by itself: windows of counters, and answers to its questions."""

from dataclasses import dataclass

from tritonfleet.plan.rollout.analysis.outcome import CheckResult, Outcome
from tritonfleet.plan.rollout.analysis.window import Window


@dataclass(frozen=True, slots=True)
class Verification:
    """The contract and the golden requests, asked of every ready canary pod before it gets traffic."""

    outcome: Outcome
    """The worst of the checks; `ERROR` while a pod could not be asked."""
    checks: tuple[CheckResult, ...]
    pods: int
    """Canary pods that answered."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What there is for one step of one attempt; the machine passes over that of another."""

    canary: str
    attempt: int
    step: int
    window: Window | None = None
    """The newest that is over."""
    verification: Verification | None = None
