"""What one decision leaves for the next, and the part of it that survives a restart."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tritonfleet.plan.autoscale.fit import Fit
from tritonfleet.plan.autoscale.growth import Growth
from tritonfleet.plan.autoscale.hold import Hold
from tritonfleet.plan.autoscale.ledger import Ledger
from tritonfleet.plan.autoscale.margin import Margin
from tritonfleet.plan.autoscale.noise import Noise
from tritonfleet.plan.autoscale.readiness import Readiness
from tritonfleet.plan.autoscale.scrapes import Track
from tritonfleet.plan.autoscale.season import Season
from tritonfleet.plan.autoscale.signals import FAST_SECONDS, SLOW_SECONDS, Signals, Tick

VERSION = 1
UP_ONLY_SECONDS = 120.0
"""After a start without a good and recent memory nothing is taken away for so long (the contract's two minutes)."""
RECENT_SECONDS = 30.0
"""A document this young still has the windows of the law in it: only the newest of them has to fill again."""
YOUNG_SECONDS = 330.0
"""With traffic the status holds none older than five minutes: windows must fill again, peaks are still known."""
OLDEST_SECONDS = 7 * 86400.0
"""An older document says nothing of today."""
PODS = 50
"""Pods whose counters are written down, a hundred bytes each."""
LARGEST = 1e18
"""No number that is remembered comes near it, not even microseconds counted over years."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Everything that is remembered of one ModelDeployment. Without arguments: a fresh start."""

    clock: float = 0.0
    """Seconds that the law has lived through; a step of the wall clock does not move it."""
    at_seconds: float | None = None
    """Wall clock of the last decision."""
    up_only_until: float = UP_ONLY_SECONDS
    """Clock until which nothing is taken away."""
    signals: Signals = field(default_factory=Signals)
    fits: Mapping[str, Fit] = field(default_factory=dict)
    """By revision, oldest first."""
    readiness: Readiness = field(default_factory=Readiness)
    growth: Growth = field(default_factory=Growth)
    margin: Margin = field(default_factory=Margin)
    season: Season = field(default_factory=Season)
    noise: Noise = field(default_factory=Noise)
    hold: Hold = field(default_factory=Hold)
    ledger: Ledger = field(default_factory=Ledger)

    def document(self) -> dict[str, Any]:
        """Return the part that must survive a restart, small enough for a status."""
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
            "margin": round(self.margin.logit, 3),
            "season": self.season.document(),
            "noise": round(self.noise.dispersion, 3),
            "hold": self.hold.document(self.clock),
            "ledger": self.ledger.document(self.clock),
        }

    def _pods(self) -> dict[str, list[Any]]:
        """Return where each pod's counters stood: a restart then misses nothing; left out for fleets too large."""
        tracks = self.signals.tracks
        return {uid: track.document(self.clock) for uid, track in tracks.items()} if len(tracks) <= PODS else {}

    @classmethod
    def restore(cls, document: Any, now: float) -> "Memory":
        """Read it back at `now`, seconds since the epoch; what cannot be read gives a fresh start, never an error."""
        try:
            return cls._restore(document, now)
        except (ArithmeticError, AttributeError, KeyError, LookupError, TypeError, ValueError):
            return cls()

    @classmethod
    def _restore(cls, document: Any, now: float) -> "Memory":
        if not _plausible(document):
            raise ValueError("not numbers that a decision can be made from")
        # The last leader's clock may have been ahead of ours: what it learned is not less true for that.
        age = abs(now - float(document["at"]))
        if document["version"] != VERSION or not age <= OLDEST_SECONDS:
            raise ValueError("written by another version, or not lately")
        recent, young = age <= RECENT_SECONDS, age <= YOUNG_SECONDS
        windows = FAST_SECONDS if recent else SLOW_SECONDS if young else UP_ONLY_SECONDS
        up_only = max(windows, min(UP_ONLY_SECONDS, float(document["upOnly"])))
        # The clock starts high enough for everything that is remembered to lie behind it.
        written = OLDEST_SECONDS
        clock = written if recent else written + age
        ticks = tuple(Tick(written - float(ago), float(long), float(rate)) for ago, long, rate in document["ticks"])
        if not all(math.isfinite(sum(tick)) and tick.seconds > 0 for tick in ticks):
            raise ValueError("not ticks")
        tracks = {str(uid): Track.restore(entry, written) for uid, entry in document["pods"].items()}
        return cls(
            clock=clock,
            at_seconds=now - age if recent else now,
            up_only_until=clock + up_only,
            signals=Signals(tracks, ticks, clock) if recent else Signals(seen_clock=clock),
            fits={str(revision): Fit.restore(fit) for revision, fit in document["fits"].items()},
            readiness=Readiness.restore(document["ready"]),
            growth=Growth.restore(document["growth"], recent=young),
            margin=Margin.restore(document["margin"]),
            season=Season.restore(document["season"]),
            noise=Noise.restore(document["noise"]),
            hold=Hold.restore(document["hold"], written),
            ledger=Ledger.restore(document["ledger"], written),
        )


def _plausible(part: Any) -> bool:
    """Tell whether every number in a document is one: people may write to a status, and not only numbers."""
    if isinstance(part, dict):
        return all(map(_plausible, part.values()))
    if isinstance(part, list):
        return all(map(_plausible, part))
    return part.isdecimal() if isinstance(part, str) else part is None or abs(part) < LARGEST
