"""How the pods of one version of the model behave, whatever the operator thinks of them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Behavior:
    """One version of the model, known by its URI."""

    ready_after_seconds: float = 10.0
    """From the pod's start on a node; infinite for never."""
    waits_with: str = ""
    """Why its container does not start, such as ImagePullBackOff."""
    fails_with: str = ""
    """What its container says when it ends before it was ready; empty for one that does not."""
    crashes_after_seconds: float | None = None
    """From when a pod is ready; None for never."""
    errors: float = 0.005
    """Share of requests that Triton counts as failed."""
    slow: float = 0.005
    """Share of requests above `SLOW_SECONDS`."""
    rejects: bool = False
    """Whether it refuses every request before Triton counts it."""
    breaks_contract: bool = False
    """Whether its inputs or outputs no longer fit stable's clients."""
    wrong: bool = False
    """Whether it answers golden requests wrong."""


GOOD = Behavior()
SLOW_SECONDS = 0.25
"""Bound of the latency histogram that the check of latency uses."""
