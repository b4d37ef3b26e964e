"""When replicas may be removed, and how far one decision may go.

`autoscaler.decide()` records every N* with `record_peak()` and, before it scales in, asks `stabilization_window()`
for how long the highest of them counts. A large fall is believed soon, a small one may be noise, and traffic that
burst lately may burst again. `clamp()` keeps to the limits that always hold, `limit_step()` to those of one decision.

Example, with a window of 90 s: after two bursts within the hour the window is 90 * (1 + 0.2 * 2) = 126 s. A fall of
one replica, or of less than a tenth, is a ripple and waits 4 * 90 = 360 s. With `scale_down_percent` 34, ten replicas
lose at most three at once; with `scale_up_factor` 4, two replicas become at most eight.
"""

import math
from dataclasses import dataclass
from typing import Any

from tritonfleet.plan.autoscale.interface import Policy, ScaleReason

HOUR_SECONDS = 3600.0
"""Peaks are kept for this long, or for a ripple's window if that is longer, for when no metrics are seen."""
RIPPLE = 0.1
"""A fall of one replica, or of this share, is a ripple."""
RIPPLE_WINDOWS = 4.0
"""Ripples wait this many windows: six minutes by default, the pace of a day's slope rather than of noise."""
RECURRENCE, BURSTS = 0.2, 5
"""g, by which each burst lengthens the window, and the most bursts that count: five double it."""
ONE_BURST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Stabilization:
    """Peaks of N* and recent bursts, by the autoscaler's clock."""

    peaks: tuple[tuple[float, int], ...] = ()
    """(clock, N*), each lower than the ones before: the newest may yet become the highest."""
    bursts: tuple[float, ...] = ()
    """When the bursts of the last hour were last seen, one entry each, the newest few."""

    def seconds(self, shortest: float, clock: float) -> float:
        """Return the window W = W0 (1 + g bursts): traffic that burst lately may burst again."""
        return shortest * (1 + RECURRENCE * sum(clock - at <= HOUR_SECONDS for at in self.bursts))

    def document(self, clock: float) -> dict[str, Any]:
        """Serialize for the status, as ages in seconds."""
        return {
            "peaks": [[round(clock - at), wanted] for at, wanted in self.peaks[:30]],
            "bursts": [round(clock - at) for at in self.bursts],
        }

    @classmethod
    def restore(cls, document: Any, clock: float) -> "Stabilization":
        """Deserialize; ValueError, TypeError or LookupError if it is malformed."""
        peaks = tuple((clock - float(age), int(wanted)) for age, wanted in document["peaks"])
        return cls(peaks, tuple(clock - float(age) for age in document["bursts"][-BURSTS:]))


def record_peak(state: Stabilization, shortest: float, wanted: int, clock: float, *, burst: bool) -> Stabilization:
    """Return the state after one more N*; `shortest` is W0, the policy's stabilization window in seconds."""
    since = clock - max(HOUR_SECONDS, RIPPLE_WINDOWS * shortest)
    bursts = state.bursts
    if burst:
        # Ticks with a burst that are close together belong to one burst.
        lasting = bool(bursts) and clock - bursts[-1] < ONE_BURST_SECONDS
        bursts = (*(bursts[:-1] if lasting else bursts), clock)[-BURSTS:]
    peaks = tuple(peak for peak in state.peaks if peak[1] > wanted and peak[0] > since)
    return Stabilization((*peaks, (clock, wanted)), bursts)


def highest_wanted(state: Stabilization, since: float) -> int:
    """Return the highest N* since a moment of the autoscaler's clock."""
    return next((wanted for at, wanted in state.peaks if at >= since), 0)


def stabilization_window(state: Stabilization, shortest: float, clock: float, replicas: int) -> float:
    """Return for how long a peak keeps these replicas: W, or several times W0 if the fall is only a ripple."""
    long = state.seconds(shortest, clock)
    ripple = replicas - highest_wanted(state, clock - long) <= max(1, int(RIPPLE * replicas))
    return max(long, RIPPLE_WINDOWS * shortest) if ripple else long


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
