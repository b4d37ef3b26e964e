"""What this time of the hour, of the day and of the week usually brings; used only while it has proven to know better.

A cycle is cut into slots. Minutes of the hour remember how far bursts rose above the usual level, for scheduled jobs
start at the same minute; quarters of the day and hours of the week remember rates, for people sleep and rest. Each
forecast is scored when its slot is over, next to what the base demand said a horizon before, by the pinball loss,
which punishes too little and too much as they cost.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from tritonfleet.plan.autoscale.observation import History

HOUR, DAY, WEEK = 3600.0, 86400.0, 604800.0
SLOTS = {HOUR: 60, DAY: 96, WEEK: 168}
RISING, FALLING = 0.5, 0.2
"""What the newest cycle adds to a slot when it is higher, or lower: biased to peaks, as Autopilot's windows are."""
CYCLES = 3
"""A slot must have been seen so often before it says anything (research 5.2: three days)."""
PINBALL = 0.9
"""Too little is nine times as bad as too much."""
SKILL = 0.95
"""A season's loss must be so much below the base demand's (research 5.5: 5 percent)."""
MEMORY = 400.0
"""Scores after which one counts little."""
BURST = 1.3
"""Rises of a minute above the usual level that are worth a forecast; the base demand covers less."""


@dataclass(frozen=True, slots=True)
class Cycle:
    """One period's slots: in an hour rises above the usual level, else requests per second."""

    period: float
    values: tuple[float, ...]
    counts: tuple[int, ...]
    """How often each slot was seen, up to `CYCLES`."""
    loss: float = 0.0
    base_loss: float = 0.0
    scores: float = 0.0
    slot: int | None = None
    """The slot that is under way."""
    total: float = 0.0
    peak: float = 0.0
    base: float = 0.0
    ticks: int = 0
    """What was seen of it: sums of rates and of base demands, the highest rate, over so many ticks."""

    @classmethod
    def of(cls, period: float) -> "Cycle":
        """Return a cycle of which nothing was seen."""
        slots = SLOTS[period]
        return cls(period, (0.0,) * slots, (0,) * slots)

    @property
    def skilled(self) -> bool:
        """Whether it beat the base demand over at least one whole cycle."""
        return self.scores >= min(len(self.values), MEMORY / 2) and self.loss < SKILL * self.base_loss

    def slot_at(self, at_seconds: float) -> int:
        """Return the slot of a moment, seconds since the epoch."""
        return int(at_seconds % self.period * len(self.values) / self.period) % len(self.values)

    def forecast(self, now: float, horizon: float, usual: float) -> float | None:
        """Return the highest rate expected from now to the horizon; None without skill or without data."""
        if not self.skilled:
            return None
        first, count = self.slot_at(now), len(self.values)
        last = first + math.ceil(horizon * count / self.period)
        known = [self.values[slot % count] for slot in range(first, last + 1) if self.counts[slot % count] >= CYCLES]
        highest = max(known, default=0.0)
        if self.period > HOUR:
            return highest or None
        return highest * usual if highest >= BURST else None

    def document(self) -> dict[str, Any]:
        """Return it for the status."""
        return {
            "values": [float(f"{value:.3g}") for value in self.values],
            "counts": "".join(map(str, self.counts)),
            "skill": [float(f"{value:.4g}") for value in (self.loss, self.base_loss, self.scores)],
        }

    @classmethod
    def restore(cls, period: float, document: Any) -> "Cycle":
        """Read it back; ValueError, TypeError or LookupError if it is none."""
        values, counts = tuple(map(float, document["values"])), tuple(map(int, document["counts"]))
        if not len(values) == len(counts) == SLOTS[period] or not all(0 <= value < math.inf for value in values):
            raise ValueError("not a season")
        loss, base_loss, scores = map(float, document["skill"])
        return cls(period, values, counts, loss, base_loss, scores)


@dataclass(frozen=True, slots=True)
class Season:
    """The cycles, shortest first."""

    cycles: tuple[Cycle, ...] = (Cycle.of(HOUR), Cycle.of(DAY), Cycle.of(WEEK))

    def forecast(self, now: float, horizon: float, usual: float | None) -> float | None:
        """Return the highest rate that a season with skill expects up to the horizon; None when none has skill."""
        if usual is None:
            return None
        expected = [cycle.forecast(now, horizon, usual) for cycle in self.cycles]
        return max((rate for rate in expected if rate is not None), default=None)

    def document(self) -> dict[str, Any]:
        """Return it for the status; a cycle of which too little was seen is left out."""
        return {str(round(cycle.period)): cycle.document() for cycle in self.cycles if any(cycle.counts)}

    @classmethod
    def restore(cls, document: Any) -> "Season":
        """Read it back; ValueError, TypeError or LookupError if it is none."""
        entries = {float(period): entry for period, entry in document.items()}
        return cls(
            tuple(Cycle.restore(period, entries[period]) if period in entries else Cycle.of(period) for period in SLOTS)
        )


def watch(season: Season, rate: float, base: float, usual: float, now: float) -> Season:
    """Return the season after one tick: the rate, and the base demand that was planned for it a horizon ago."""
    return Season(tuple(_watch(cycle, rate, base, usual, now) for cycle in season.cycles))


def learn(season: Season, history: History) -> Season:
    """Return the season with the past in it; it says nothing of skill, for nobody forecast then."""
    usual: float | None = None
    for index, rate in enumerate(history.rates):
        if 0 <= rate < math.inf:
            usual = rate if usual is None else usual + min(1.0, history.step_seconds / 600.0) * (rate - usual)
            season = watch(season, rate, 0.0, usual, history.start_seconds + index * history.step_seconds)
    return Season(tuple(replace(cycle, loss=0.0, base_loss=0.0, scores=0.0) for cycle in season.cycles))


def _watch(cycle: Cycle, rate: float, base: float, usual: float, now: float) -> Cycle:
    slot = cycle.slot_at(now)
    if slot == cycle.slot:
        peak = max(cycle.peak, rate)
        return replace(cycle, total=cycle.total + rate, base=cycle.base + base, peak=peak, ticks=cycle.ticks + 1)
    closed = cycle if cycle.slot is None else _close(cycle, cycle.slot, usual)
    return replace(closed, slot=slot, total=rate, base=base, peak=rate, ticks=1)


def _close(cycle: Cycle, slot: int, usual: float) -> Cycle:
    """Score what was forecast for a slot that is over, and remember what it brought."""
    hourly = cycle.period == HOUR
    scale = usual if hourly and usual > 0 else 1.0
    actual = (cycle.peak if hourly else cycle.total / cycle.ticks) / scale
    value, count = cycle.values[slot], cycle.counts[slot]
    if count >= CYCLES:
        kept = 1 - 1 / MEMORY
        base = cycle.base / cycle.ticks / scale
        # The season never lowers the base demand, so it is judged as what it would have made of it.
        planned = max(base, value) if not hourly or value >= BURST else base
        cycle = replace(
            cycle,
            loss=cycle.loss * kept + _pinball(actual, planned),
            base_loss=cycle.base_loss * kept + _pinball(actual, base),
            scores=cycle.scores * kept + 1,
        )
    share = 1.0 if count == 0 else RISING if actual > value else FALLING
    values = (*cycle.values[:slot], value + share * (actual - value), *cycle.values[slot + 1 :])
    counts = (*cycle.counts[:slot], min(CYCLES, count + 1), *cycle.counts[slot + 1 :])
    return replace(cycle, values=values, counts=counts)


def _pinball(actual: float, planned: float) -> float:
    return max(PINBALL * (actual - planned), (1 - PINBALL) * (planned - actual))
