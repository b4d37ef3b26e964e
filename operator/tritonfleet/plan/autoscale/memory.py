"""What one decision leaves for the next, and the part of it that survives a restart.

`autoscaler.decide()` takes a `Memory` and returns the next one; it never changes one in place. `Memory.document()` is
what `plan/scaling_status.py` writes to `status.autoscaling.memory`, and `Memory.restore()` reads it back after a
restart. A status may be old, damaged or edited: what cannot be read gives a fresh start, never an error.

How much of it counts depends on its age: up to 30 s everything does, and nothing is removed for 10 s; up to 330 s the
windows are dropped and must fill again for a minute; older than that, nothing is removed for two minutes. A document
written 20 s ago with 90 s left of its own two minutes keeps those 90 s.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tritonfleet.plan.autoscale.arrivals import FAST_SECONDS, SLOW_SECONDS, Noise, PodCounters, Signals, Tick
from tritonfleet.plan.autoscale.bursts import Bursts
from tritonfleet.plan.autoscale.capacity import Fit
from tritonfleet.plan.autoscale.demand import Growth, Readiness
from tritonfleet.plan.autoscale.slo import ErrorBudget, Headroom
from tritonfleet.plan.autoscale.stabilization import Stabilization

VERSION = 2
LEGIBLE = (1, VERSION)
"""Version 1 had growth of another kind, seasons and a margin: these start empty, all else is read."""
UP_ONLY_SECONDS = 120.0
"""After a start without a recent memory no replica is removed for this long."""
RECENT_SECONDS = 30.0
"""A document this recent still has usable rate windows: only the fast one has to fill again."""
YOUNG_SECONDS = 330.0
"""With traffic the status is at most five minutes old: rate windows must fill again, peaks are still valid."""
OLDEST_SECONDS = 7 * 86400.0
"""An older document is discarded."""
PODS = 50
"""Largest fleet whose counters are saved, at a hundred bytes per pod."""
LARGEST_NUMBER = 1e18
"""No valid number comes near it, not even microseconds counted over years."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The autoscaler's state for one ModelDeployment. Without arguments: a fresh start."""

    clock: float = 0.0
    """The autoscaler's own clock, seconds; a step of the wall clock does not move it."""
    at_seconds: float | None = None
    """Wall clock of the last decision."""
    up_only_until: float = UP_ONLY_SECONDS
    """Clock until which no replica is removed."""
    signals: Signals = field(default_factory=Signals)
    fits: Mapping[str, Fit] = field(default_factory=dict)
    """By revision, oldest first."""
    readiness: Readiness = field(default_factory=Readiness)
    growth: Growth = field(default_factory=Growth)
    bursts: Bursts = field(default_factory=Bursts)
    headroom: Headroom = field(default_factory=Headroom)
    noise: Noise = field(default_factory=Noise)
    stabilization: Stabilization = field(default_factory=Stabilization)
    error_budget: ErrorBudget = field(default_factory=ErrorBudget)

    def document(self) -> dict[str, Any]:
        """Return the part that must survive a restart, small enough for a status.

        The keys `hold` and `ledger` are those of version 1; to rename one is to discard what was learned.
        """
        return {
            "version": VERSION,
            "at": None if self.at_seconds is None else round(self.at_seconds, 1),
            "upOnly": max(0, round(self.up_only_until - self.clock)),
            "ticks": [
                [round(self.clock - tick.clock, 1), round(tick.seconds, 1), round(tick.rate, 3)]
                for tick in self.signals.ticks
            ],
            "pods": self._pods(),
            "fits": {revision: fit.document() for revision, fit in self.fits.items()},
            "ready": self.readiness.document(),
            "growth": self.growth.document(),
            "bursts": self.bursts.document(),
            "headroom": self.headroom.document(),
            "noise": round(self.noise.dispersion, 3),
            "hold": self.stabilization.document(self.clock),
            "ledger": self.error_budget.document(self.clock),
        }

    def _pods(self) -> dict[str, list[Any]]:
        """Return each pod's counters, so that a restart misses nothing; left out for large fleets."""
        known = self.signals.pod_counters
        return {uid: pod.document(self.clock) for uid, pod in known.items()} if len(known) <= PODS else {}

    @classmethod
    def restore(cls, document: Any, now: float) -> "Memory":
        """Deserialize at `now`, seconds since the epoch; a malformed document gives a fresh start, never an error."""
        try:
            return cls._restore(document, now)
        except (ArithmeticError, AttributeError, KeyError, LookupError, TypeError, ValueError):
            return cls()

    @classmethod
    def _restore(cls, document: Any, now: float) -> "Memory":
        if not _plausible(document):
            raise ValueError("not numbers that a decision can be made from")
        # The last leader's clock may have been ahead of ours; what it learned is still valid.
        age = abs(now - float(document["at"]))
        if document["version"] not in LEGIBLE or not age <= OLDEST_SECONDS:
            raise ValueError("written by another version, or not lately")
        current = document["version"] == VERSION
        recent, young = age <= RECENT_SECONDS, age <= YOUNG_SECONDS
        windows = FAST_SECONDS if recent else SLOW_SECONDS if young else UP_ONLY_SECONDS
        up_only = max(windows, min(UP_ONLY_SECONDS, float(document["upOnly"])))
        # The clock starts high enough for every remembered moment to lie behind it.
        written = OLDEST_SECONDS
        clock = written if recent else written + age
        ticks = tuple(Tick(written - float(ago), float(long), float(rate)) for ago, long, rate in document["ticks"])
        if not all(math.isfinite(sum(tick)) and tick.seconds > 0 for tick in ticks):
            raise ValueError("not ticks")
        pod_counters = {str(uid): PodCounters.restore(entry, written) for uid, entry in document["pods"].items()}
        return cls(
            clock=clock,
            at_seconds=now - age if recent else now,
            up_only_until=clock + up_only,
            signals=Signals(pod_counters, ticks, clock) if recent else Signals(seen_clock=clock),
            fits={str(revision): Fit.restore(fit) for revision, fit in document["fits"].items()},
            readiness=Readiness.restore(document["ready"]),
            growth=Growth.restore(document["growth"], recent=young) if current else Growth(),
            bursts=Bursts.restore(document["bursts"]) if current else Bursts(),
            headroom=Headroom.restore(document["headroom"]) if current else Headroom(),
            noise=Noise.restore(document["noise"]),
            stabilization=Stabilization.restore(document["hold"], written),
            error_budget=ErrorBudget.restore(document["ledger"], written),
        )


def _plausible(part: Any) -> bool:
    """Return whether every number in a document is plausible: a status may have been edited."""
    if isinstance(part, dict):
        return all(map(_plausible, part.values()))
    if isinstance(part, list):
        return all(map(_plausible, part))
    return part.isdecimal() if isinstance(part, str) else part is None or abs(part) < LARGEST_NUMBER
