"""When replicas may be removed, and how far one decision may go.

`autoscaler.decide()` records the need of every tick with `record_peak()`, every change of the replicas with
`record_change()`, and, before it scales in, asks `stabilization_window()` for how long the highest need counts. A large
fall is believed soon, a small one may be noise. Only the need of the demand is held: what was started beyond it goes
as soon as it has done its work. `clamp()` keeps to the limits that always hold, `limit_step()` to those of one
decision.

Example, with a window of 90 s: a fall of one replica, or of less than a tenth, is a ripple and waits 4 * 90 = 360 s.
After two changes of direction within the hour it waits 720 s, after three 1,440 s, and never more than an hour, or four
windows if these are longer. With `scale_down_percent` 34, ten replicas lose at most three at once; with
`scale_up_factor` 4, two replicas become at most eight.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from tritonfleet.plan.autoscale.interface import Policy, ScaleReason

HOUR_SECONDS = 3600.0
"""Peaks and changes are kept for this long, or for a ripple's window if that is longer."""
RIPPLE = 0.1
"""A fall of one replica, or of this share, is a ripple."""
RIPPLE_WINDOWS = 4.0
"""Ripples wait this many windows: six minutes by default, the pace of a day's slope rather than of noise."""
TURNS_KEPT = 8
"""Changes of direction that are kept: by then ripples wait as long as they can."""


@dataclass(frozen=True, slots=True)
class Stabilization:
    """Peaks of the need and recent changes of direction, by the autoscaler's clock."""

    peaks: tuple[tuple[float, int], ...] = ()
    """(clock, need), each lower than the ones before: the newest may yet become the highest."""
    turns: tuple[float, ...] = ()
    """When the replicas last began to rise after a fall, or to fall after a rise, oldest first."""
    rising: bool | None = None
    """Whether the last change was a rise; None before any."""

    def ripple_seconds(self, shortest: float, clock: float) -> float:
        """Return for how long a small fall waits: several windows, doubled for each change of direction but one."""
        turns = sum(clock - at <= HOUR_SECONDS for at in self.turns)
        windows = RIPPLE_WINDOWS * shortest
        return max(windows, min(HOUR_SECONDS, windows * 2.0 ** max(0, turns - 1)))

    def document(self, clock: float) -> dict[str, Any]:
        """Serialize for the status, as ages in seconds."""
        return {
            "peaks": [[round(clock - at), wanted] for at, wanted in self.peaks[:30]],
            "turns": [round(clock - at) for at in self.turns],
            "rising": self.rising,
        }

    @classmethod
    def restore(cls, document: Any, clock: float) -> "Stabilization":
        """Deserialize; ValueError, TypeError or LookupError if it is malformed."""
        peaks = tuple((clock - float(age), int(wanted)) for age, wanted in document["peaks"])
        turns = tuple(clock - float(age) for age in document.get("turns", ()))
        rising = document.get("rising")
        return cls(peaks, turns[-TURNS_KEPT:], None if rising is None else bool(rising))


def record_peak(state: Stabilization, shortest: float, wanted: int, clock: float) -> Stabilization:
    """Return the state after one more need; `shortest` is W0, the policy's stabilization window in seconds."""
    since = clock - max(HOUR_SECONDS, RIPPLE_WINDOWS * shortest)
    peaks = tuple(peak for peak in state.peaks if peak[1] > wanted and peak[0] > since)
    return replace(state, peaks=(*peaks, (clock, wanted)))


def record_change(state: Stabilization, before: int, after: int, clock: float) -> Stabilization:
    """Return the state after a decision."""
    if before == after:
        return state
    rising = after > before
    if state.rising is None or rising == state.rising:
        return replace(state, rising=rising)
    return replace(state, rising=rising, turns=(*state.turns, clock)[-TURNS_KEPT:])


def highest_wanted(state: Stabilization, since: float) -> int:
    """Return the highest need since a moment of the autoscaler's clock."""
    return next((wanted for at, wanted in state.peaks if at >= since), 0)


def is_ripple(replicas: int, target: int) -> bool:
    """Return whether a fall is so small that it may be noise."""
    return replicas - target <= max(1, int(RIPPLE * replicas))


def stabilization_window(
    state: Stabilization, shortest: float, clock: float, replicas: int, *, doubled: bool = True
) -> float:
    """Return for how long a peak keeps these replicas: W0, or several times W0 if the fall is only a ripple."""
    if not is_ripple(replicas, highest_wanted(state, clock - shortest)):
        return shortest
    return state.ripple_seconds(shortest, clock) if doubled else RIPPLE_WINDOWS * shortest


@dataclass(frozen=True, slots=True)
class Limited:
    """Replicas, and the limit that changed them; None when none did."""

    replicas: int
    reason: ScaleReason | None = None


def clamp(policy: Policy, wanted: int, replicas: int, schedulable: int | None) -> Limited:
    """Keep to the limits that always hold: the user's minimum and maximum, and what the nodes can hold.

    Full nodes are no reason to scale in: a pending pod may yet be scheduled.
    """
    low, high = policy.min_replicas, max(policy.min_replicas, policy.max_replicas)
    bounded = min(max(wanted, low), high)
    if schedulable is not None and bounded > max(schedulable, replicas):
        return Limited(max(schedulable, min(replicas, bounded), low), ScaleReason.NOT_SCHEDULABLE)
    if wanted > high:
        return Limited(high, ScaleReason.AT_MAX_REPLICAS)
    return Limited(bounded, ScaleReason.AT_MIN_REPLICAS if wanted < low else None)


def limit_step(policy: Policy, replicas: int, target: int) -> int:
    """Keep to the largest step that the user allows; from zero the first step is to the minimum."""
    if target > replicas:
        return min(target, max(math.floor(policy.scale_up_factor * replicas), replicas + 1, policy.min_replicas))
    removable = max(1, math.floor(replicas * policy.scale_down_percent / 100))
    return max(target, replicas - removable)
