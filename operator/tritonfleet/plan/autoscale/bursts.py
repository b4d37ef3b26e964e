"""Which rate is usual, what rises above it for a while, and in which minutes that comes back.

`demand.update_growth()` calls `update_bursts()` with every ten seconds' rate, and `autoscaler.decide()` asks
`Bursts.expected_rate()` what to be ready for ahead of time. Scheduled jobs start at the same minute of the hour or of
the half-hour. A burst is a rate far above the usual one that is over within twenty minutes; what lasts longer is a new
usual level, and says nothing about minutes.

Each minute of the half-hour and of the hour (a slot) counts its visits and the bursts that began in it or beside it.
From them follows the chance of a burst, smoothed by the chance at any time, so that one burst is enough to speak.
Replicas are kept ready for a slot if they are used as much there as if they were kept always.

Example: in five hours a burst began at :02 four times and at :32 three times. Minute 2 of the half-hour was visited ten
times, with seven bursts; of all 300 minutes 7 saw one begin, so that the chance at any time is 3 * 7 / 300 = 7%. The
chance for the half-hour is (7 + 2 * 0.07) / (10 + 2) = 60%, and that for :02 is (4 + 2 * 0.6) / (5 + 2) = 74%.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tritonfleet.plan.autoscale.interface import History

STEP_SECONDS = 10.0
"""Resolution of the recorded past: one fast window."""
REFERENCE_SECONDS = 600.0
"""The usual level is a decaying mean over this long: longer than a burst, shorter than a day's slope."""
USUAL_RISE, CHANCE = 1.3, 3.0
"""More than this factor, and so many standard deviations of chance, above the usual level does not raise it."""
BURST_BEGINS, BURST_ENDS = 1.6, 1.2
"""A burst begins this far above the usual level, beyond chance, and ends below this."""
BURST_SURE = 6.0
"""It is kept in mind if its requests beyond the usual ones are so many standard deviations of chance: where requests
are few, ten busy seconds are no burst."""
LEVEL_SECONDS = 1200.0
"""What lasts as long as this is no burst but a new level."""
LARGEST_SIZE = 30.0
"""Sizes above this say that there was next to no traffic before."""
BURSTS_KEPT = 60
HALF_HOUR, WHOLE_HOUR = 30, 60
"""Slots: minutes of the half-hour, and of the hour."""
SLOT_KEPT = 0.96
"""What a slot remembers from one visit to the next: 25 visits."""
PRIOR_VISITS = 2.0
"""Weight of the less specific chance."""
LEAST_CHANCE = 0.06
"""No replica is kept ready for a burst that is less likely."""
WORTH = 0.9
"""A replica for a slot must be this share as useful, per second, as one that is kept always."""
SLOT_SECONDS = 120.0
"""For how long replicas are up for a slot once it began: its minute, and one for bursts that are late."""
SLOT_AHEAD_SECONDS = 30.0
"""Pods for a slot are started this much earlier than they take to start."""
SIZES_ASKED = 5
"""The largest of the last few bursts of a slot is provided for."""
HIGHEST_SHARE = 1.1
"""But never more than this times the highest rate ever seen."""

Slots = tuple[float, ...]


class Burst(NamedTuple):
    """One burst that is over."""

    began_seconds: float
    """Since the epoch."""
    size: float
    """Highest rate over the usual one."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Bursts:
    """The usual level, the bursts above it, and what each slot saw. Rates are requests per second."""

    usual: float | None = None
    """The usual level; None before anything was seen."""
    bursts: tuple[Burst, ...] = ()
    """The last ones, oldest first."""
    half_visits: Slots = (0.0,) * HALF_HOUR
    half_hits: Slots = (0.0,) * HALF_HOUR
    hour_visits: Slots = (0.0,) * WHOLE_HOUR
    hour_hits: Slots = (0.0,) * WHOLE_HOUR
    minute: int | None = None
    """The last minute that was visited, since the epoch."""
    began_seconds: float | None = None
    """When the burst under way began, since the epoch; None without one."""
    peak: float = 0.0
    """Its size so far."""
    excess: float = 0.0
    """Its requests so far beyond the usual ones."""
    ended_seconds: float = -math.inf
    """When the last one ended, since the epoch."""
    expected: Slots = ()
    """Sizes to be ready for, by minute of the hour, 0 for none; empty if there are none at all."""

    def expected_rate(self, now: float, slow_start: float, highest: float) -> float | None:
        """Return the rate to be ready for at `now`, given how long a slow pod takes to start; None if there is none."""
        if not self.expected or not self.usual:
            return None
        first = math.floor((now - SLOT_SECONDS) / 60) + 1
        last = math.floor((now + slow_start + SLOT_AHEAD_SECONDS) / 60)
        size = max((self.expected[minute % WHOLE_HOUR] for minute in range(first, last + 1)), default=0.0)
        return min(size * self.usual, HIGHEST_SHARE * highest) if size > 0 else None

    def calm(self, now: float) -> bool:
        """Return whether no burst is under way, nor was a minute ago."""
        return self.began_seconds is None and now - self.ended_seconds > 60

    def document(self) -> dict[str, Any]:
        """Serialize for the status."""
        return {
            "usual": None if self.usual is None else float(f"{self.usual:.4g}"),
            "bursts": [[round(at), round(size, 2), round(seconds)] for at, size, seconds in self.bursts],
            "halves": _slots_written(self.half_visits, self.half_hits),
            "hours": _slots_written(self.hour_visits, self.hour_hits),
        }

    @classmethod
    def restore(cls, document: Any) -> "Bursts":
        """Deserialize; ValueError, TypeError or LookupError if it is malformed."""
        usual = document["usual"]
        if usual is not None and not 0 <= usual < math.inf:
            raise ValueError("not a usual level")
        bursts = tuple(Burst(float(at), float(size), float(seconds)) for at, size, seconds in document["bursts"])
        if not all(0 < burst.size <= LARGEST_SIZE and math.isfinite(sum(burst)) for burst in bursts[-BURSTS_KEPT:]):
            raise ValueError("not bursts")
        half_visits, half_hits = _slots_read(document["halves"], HALF_HOUR)
        hour_visits, hour_hits = _slots_read(document["hours"], WHOLE_HOUR)
        return cls(usual, bursts[-BURSTS_KEPT:], half_visits, half_hits, hour_visits, hour_hits)


def update_bursts(
    bursts: Bursts, fast: float, middle: float, seconds: float, dispersion: float, now: float, slow_start: float
) -> Bursts:
    """Return the bursts after ten more seconds, with the rates over 10 s and over 30 s at their end."""
    minute = bursts.minute
    bursts = _observe(bursts, fast, middle, seconds, dispersion, now)
    if bursts.minute == minute or not bursts.bursts:
        return bursts
    return replace(bursts, expected=_expected(bursts, slow_start))


def learn_bursts(
    bursts: Bursts, history: History, dispersion: float, slow_start: float
) -> tuple[Bursts, list[tuple[float, float | None, bool]]]:
    """Return the bursts as if the past had been observed, and of each step what growth is learned from.

    That is the rate, the usual level, which is None where the rate is unknown, and whether a burst began.
    """
    levels: list[tuple[float, float | None, bool]] = []
    recent: tuple[float, ...] = ()
    for index, rate in enumerate(history.rates, start=1):
        if not 0 <= rate < math.inf:
            recent = ()
            levels.append((0.0, None, False))
            continue
        at = history.start_seconds + index * history.step_seconds
        recent, before = (*recent, rate)[-max(1, round(30 / history.step_seconds)) :], bursts.began_seconds
        bursts = _observe(bursts, rate, sum(recent) / len(recent), history.step_seconds, dispersion, at)
        levels.append((rate, bursts.usual, before is None and bursts.began_seconds is not None))
    bursts = replace(bursts, began_seconds=None)
    return replace(bursts, expected=_expected(bursts, slow_start)) if bursts.bursts else bursts, levels


def _observe(bursts: Bursts, fast: float, middle: float, seconds: float, dispersion: float, now: float) -> Bursts:
    """Count the minute, follow a burst, and move the usual level."""
    if math.floor(now / 60) != bursts.minute:
        bursts = _visit(bursts, now)
    if bursts.usual is None:
        return replace(bursts, usual=middle)
    usual = bursts.usual
    bursts = _follow(bursts, fast, middle, seconds, dispersion, now)
    if bursts.usual != usual:
        return bursts
    share = min(1.0, seconds / REFERENCE_SECONDS)
    most = USUAL_RISE * usual + chance(usual, STEP_SECONDS, dispersion)
    return replace(bursts, usual=usual + share * (min(fast, most) - usual))


def chance(rate: float, seconds: float, dispersion: float) -> float:
    """Return how far chance may move a mean rate over `seconds`."""
    return CHANCE * math.sqrt(dispersion * rate / seconds)


def _follow(bursts: Bursts, fast: float, middle: float, seconds: float, dispersion: float, now: float) -> Bursts:
    """Notice that a burst begins, goes on, ends, or turns out to be a new level."""
    usual = bursts.usual or 0.0
    size = min(LARGEST_SIZE, fast / usual) if usual > 0 else LARGEST_SIZE
    if bursts.began_seconds is None:
        begins = fast > BURST_BEGINS * usual + chance(usual, STEP_SECONDS, dispersion)
        return replace(bursts, began_seconds=now, peak=size, excess=(fast - usual) * seconds) if begins else bursts
    lasted = now - bursts.began_seconds
    if not 0 <= lasted < LEVEL_SECONDS:
        return replace(bursts, usual=middle, began_seconds=None, ended_seconds=now)
    excess = bursts.excess + (fast - usual) * seconds
    if middle >= BURST_ENDS * usual:
        return replace(bursts, peak=max(bursts.peak, size), excess=excess)
    if excess <= BURST_SURE * math.sqrt(dispersion * usual * lasted):
        return replace(bursts, began_seconds=None, ended_seconds=now)
    minute = math.floor(bursts.began_seconds / 60)
    return replace(
        bursts,
        bursts=(*bursts.bursts, Burst(bursts.began_seconds, bursts.peak, lasted))[-BURSTS_KEPT:],
        half_hits=_raised(bursts.half_hits, minute % HALF_HOUR, 1.0, 1.0),
        hour_hits=_raised(bursts.hour_hits, minute % WHOLE_HOUR, 1.0, 1.0),
        began_seconds=None,
        ended_seconds=now,
    )


def _visit(bursts: Bursts, now: float) -> Bursts:
    """Count a minute that has begun."""
    minute = math.floor(now / 60)
    half, hour = minute % HALF_HOUR, minute % WHOLE_HOUR
    return replace(
        bursts,
        minute=minute,
        half_visits=_raised(bursts.half_visits, half, SLOT_KEPT, 1.0),
        half_hits=_raised(bursts.half_hits, half, SLOT_KEPT, 0.0),
        hour_visits=_raised(bursts.hour_visits, hour, SLOT_KEPT, 1.0),
        hour_hits=_raised(bursts.hour_hits, hour, SLOT_KEPT, 0.0),
    )


def _expected(bursts: Bursts, slow_start: float) -> Slots:
    """Return the size to be ready for in each minute of the hour; empty if there is none."""
    per_minute = sum(bursts.half_hits) / sum(bursts.half_visits)
    needed = max(LEAST_CHANCE, WORTH * per_minute / 60 * (slow_start + SLOT_SECONDS))
    began = [(math.floor(burst.began_seconds / 60) % HALF_HOUR, burst.size) for burst in bursts.bursts]
    sizes = []
    for minute in range(WHOLE_HOUR):
        half = minute % HALF_HOUR
        if not _beside(bursts.half_hits, half) or slot_chance(bursts, minute, per_minute) <= needed:
            sizes.append(0.0)
            continue
        near = [size for at, size in began if (at - half + 1) % HALF_HOUR <= 2]
        sizes.append(max(near[-SIZES_ASKED:], default=0.0))
    return tuple(sizes) if any(sizes) else ()


def slot_chance(bursts: Bursts, minute: int, per_minute: float) -> float:
    """Return the chance that a burst begins in a minute of the hour or beside it, given how many there are a minute."""
    half, hour = minute % HALF_HOUR, minute % WHOLE_HOUR
    anywhere = 3 * per_minute
    of_half = (_beside(bursts.half_hits, half) + PRIOR_VISITS * anywhere) / (bursts.half_visits[half] + PRIOR_VISITS)
    return (_beside(bursts.hour_hits, hour) + PRIOR_VISITS * of_half) / (bursts.hour_visits[hour] + PRIOR_VISITS)


def _beside(slots: Slots, index: int) -> float:
    """Return the sum of a slot and its two neighbors."""
    return slots[index - 1] + slots[index] + slots[(index + 1) % len(slots)]


def _raised(slots: Slots, index: int, factor: float, added: float) -> Slots:
    return (*slots[:index], slots[index] * factor + added, *slots[index + 1 :])


def _slots_written(visits: Slots, hits: Slots) -> list[list[float]]:
    """Return the visits of all slots, and the hits of those that have some as pairs of slot and hits."""
    counted = [[index, round(value, 2)] for index, value in enumerate(hits) if value >= 0.005]
    return [[round(value, 1) for value in visits], *counted]


def _slots_read(document: Any, count: int) -> tuple[Slots, Slots]:
    visits, *counted = document
    hits = [0.0] * count
    for index, value in counted:
        hits[index] = float(value)
    read = tuple(map(float, visits))
    if len(read) != count or not all(0 <= value < math.inf for value in (*read, *hits)):
        raise ValueError("not slots")
    return read, tuple(hits)
