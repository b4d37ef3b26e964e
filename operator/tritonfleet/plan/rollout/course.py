"""What the cluster should look like for a state that is already written down."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tritonfleet.plan.rollout.facts import Facts
from tritonfleet.plan.rollout.phase import Phase
from tritonfleet.plan.rollout.sizes import sizes
from tritonfleet.plan.rollout.state import State
from tritonfleet.plan.rollout.weights import EVERYTHING, track_of


@dataclass(frozen=True, slots=True)
class Course:
    """Pods and traffic by revision hash. Revisions that are not named are of no more use."""

    sizes: Mapping[str, int]
    """Pods of every revision that has any, or is to have any."""
    split: Mapping[str, int]
    """Percent of the traffic; adds up to 100, and is empty while nothing can serve."""
    stable: str
    """Serves, or will be the first to; empty for none."""
    opened: frozenset[str] = frozenset()
    """Revisions without a share that a gateway keeps a way to."""


def course_of(state: State, facts: Facts) -> Course:
    """Return what to render: who serves comes from the state alone, how many pods also from those that are there."""
    stable = state.canary if state.phase is Phase.INITIALIZING else state.stable
    pods, split = sizes(state, facts), _split(state, stable)
    return Course(pods, split, stable, frozenset(_opened(state, facts, pods, split)))


def _split(state: State, stable: str) -> Mapping[str, int]:
    if not stable:
        return {}
    if state.canary and state.canary != stable:
        return {stable: EVERYTHING - state.routed_weight, state.canary: state.routed_weight}
    if state.previous:
        return {stable: EVERYTHING, state.previous: 0}
    return {stable: EVERYTHING}


def _opened(state: State, facts: Facts, pods: Mapping[str, int], split: Mapping[str, int]) -> Iterator[str]:
    """Yield those without a share that may get requests at any moment, or got some until now.

    A canary is one of them only while the weight moves: not before it is verified, nor once it was taken back.
    """
    moving = state.weight != state.applied_weight
    for revision in (each for each, percent in split.items() if percent == 0):
        takes_over = revision != state.canary and (pods.get(revision) or track_of(facts, revision).existing)
        if moving or takes_over:
            yield revision
