"""What sends a canary back from wherever it is, also while a person is asked or the rollout is paused."""

from typing import Final

from tritonfleet.plan.rollout.back import roll_back
from tritonfleet.plan.rollout.moment import Advance, Moment
from tritonfleet.plan.rollout.phase import BEFORE_RETURN, Phase
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.weights import EVERYTHING, floor_wanted, pods_needed

MAY_LOSE_STABLE: Final = frozenset(
    {Phase.PROVISIONING, Phase.WAITING_FOR_CAPACITY, Phase.SHIFTING, Phase.ANALYZING}
    | {Phase.AWAITING_APPROVAL, Phase.HELD}
)


def keep_safe(moment: Moment) -> Advance | None:
    """Return the way back from a canary that harms users, or from a stable that cannot take them; None if all is well.

    Only while the canary gets traffic: what goes wrong before that harms nobody, and is its phase's own affair.
    """
    state = moment.state
    if state.phase not in BEFORE_RETURN | {Phase.PROMOTING} or max(state.weight, state.applied_weight) == 0:
        return None
    share = f"{max(state.weight, state.applied_weight)} % of the traffic"
    name = moment.name(state.canary)
    if moment.canary.unsteady:
        message = f"{name} got {share} with {moment.canary.ready} ready pods: {moment.canary.unsteady}"
        return roll_back(moment, RolloutReason.CANARY_UNSTEADY, message, rejecting=True)
    if moment.canary.ready == 0 and state.applied_weight > 0:
        trouble = f": {moment.canary.finding.message}" if moment.canary.finding is not None else ""
        message = f"{name} got {share} and none of its {moment.canary.asked} pods is ready{trouble}"
        return roll_back(moment, RolloutReason.CANARY_LOST, message, rejecting=True)
    if state.phase in MAY_LOSE_STABLE and is_stable_lost(moment):
        message = (
            f"{moment.name(state.stable)} has {moment.stable.ready} ready pods and needs {_needed(moment)} for "
            f"{EVERYTHING - state.applied_weight} % of the traffic; {name} has {moment.canary.ready}"
        )
        resume = Phase.HELD if state.phase is Phase.HELD else Phase.PROVISIONING
        return moment.go(Phase.STABLE_LOST, RolloutReason.STABLE_LOST, message, resume=resume, settled_at=None)
    return None


def is_stable_lost(moment: Moment) -> bool:
    """Tell whether stable cannot carry the traffic that it gets, and not only for a moment.

    On the way to 100 % that is no news: the canary is about to take it all.
    """
    stable = moment.stable
    if moment.goal == EVERYTHING:
        return False
    if not 0 < moment.state.applied_weight < EVERYTHING or stable.ready >= _needed(moment):
        return False
    return stable.ready == 0 or bool(stable.unsteady) or stable.finding is not None


def _needed(moment: Moment) -> int:
    return pods_needed(EVERYTHING - moment.state.applied_weight, floor_wanted(moment.state, moment.facts))
