"""When a weight that was asked for counts as in force."""

from datetime import timedelta
from typing import Final

from tritonfleet.plan.rollout.moment import LOOK_AGAIN_SECONDS, Advance, Moment

EFFECT: Final = timedelta(seconds=3)
"""A gateway says that it accepts a route a moment before its proxies act on it; pods stay for as long."""


def in_force(moment: Moment) -> Advance | None:
    """Return the state in which the weight counts as applied, or the wait until then; None while it is not accepted.

    A gateway that has only made a way to the canary gives it its weight next.
    """
    state = moment.state
    if not moment.facts.split.settled:
        return moment.stay(settled_at=None) if state.settled_at is not None else None
    if state.settled_at is None or state.settled_at > moment.now:
        return moment.stay(settled_at=moment.now, wait_seconds=EFFECT.total_seconds())
    left = (state.settled_at + EFFECT - moment.now).total_seconds()
    if left > 0:
        return moment.stay(wait_seconds=left)
    if state.is_opening:
        return moment.stay(opening=False, settled_at=None, wait_seconds=LOOK_AGAIN_SECONDS)
    return moment.stay(applied_weight=state.weight, settled_at=None)
