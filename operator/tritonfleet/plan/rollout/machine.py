"""The state machine of a rollout: one pure step at a time."""

from dataclasses import dataclass
from datetime import datetime

from tritonfleet.plan.rollout.facts import Facts
from tritonfleet.plan.rollout.state import State
from tritonfleet.plan.world import Event


@dataclass(frozen=True, slots=True)
class Advance:
    """What one look at the facts comes to; at most one transition."""

    state: State
    """To be written down before it is acted upon; the same object if nothing changed."""
    events: tuple[Event, ...] = ()
    wait_seconds: float | None = None
    """When to look again though nothing happened; None if nothing is due at a known time."""


def advance(state: State, facts: Facts, now: datetime) -> Advance:
    """Return the state after this moment. Called only when the cluster has been asked for what `state` says."""
    raise NotImplementedError
