"""What the cluster should look like for a state that is already written down."""

from collections.abc import Mapping
from dataclasses import dataclass

from tritonfleet.plan.rollout.facts import Facts
from tritonfleet.plan.rollout.phase import Phase
from tritonfleet.plan.rollout.sizes import sizes
from tritonfleet.plan.rollout.state import State
from tritonfleet.plan.rollout.weights import EVERYTHING


@dataclass(frozen=True, slots=True)
class Course:
    """Pods and traffic by revision hash. Revisions that are not named are of no more use."""

    sizes: Mapping[str, int]
    """Pods of every revision that has any, or is to have any."""
    split: Mapping[str, int]
    """Percent of the traffic; adds up to 100, and is empty while nothing can serve."""
    stable: str
    """Serves, or will be the first to; empty for none."""
    moving: bool = False
    """Whether the split is not known to be in force yet."""


def course_of(state: State, facts: Facts) -> Course:
    """Return what to render: who serves comes from the state alone, how many pods also from those that are there."""
    stable = state.canary if state.phase is Phase.INITIALIZING else state.stable
    return Course(sizes(state, facts), _split(state, stable), stable, moving=state.weight != state.applied_weight)


def _split(state: State, stable: str) -> Mapping[str, int]:
    if not stable:
        return {}
    if state.canary and state.canary != stable:
        return {stable: EVERYTHING - state.weight, state.canary: state.weight}
    if state.previous:
        return {stable: EVERYTHING, state.previous: 0}
    return {stable: EVERYTHING}
