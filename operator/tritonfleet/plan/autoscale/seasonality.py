"""What this minute of the hour, time of day or hour of the week usually brings.

`autoscaler.decide()` asks `Season.forecast()` for the highest rate expected within the horizon and updates the
seasons with each tick's rate; `demand.py` takes the forecast as one candidate for the demand. A cycle is cut into
slots. Minutes of the hour record how far bursts rose above the usual level, because scheduled jobs start at the same
minute; quarters of the day and hours of the week record rates, because people sleep and rest.

A season is used only while it has proven skill. When a slot is over, its forecast is scored next to what the base
demand had said a horizon before, by the pinball loss, which weighs too little and too much as they cost.
Example: 200 requests/s came where 150 were planned: 0.9 * 50 = 45; had 250 been planned: 0.1 * 50 = 5.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from tritonfleet.plan.autoscale.interface import History

HOUR, DAY, WEEK = 3600.0, 86400.0, 604800.0
SLOTS = {HOUR: 60, DAY: 96, WEEK: 168}
RISING, FALLING = 0.5, 0.2
"""Weight of the newest cycle in a slot if it is higher, or lower: biased to peaks, as Autopilot is (EuroSys 2020)."""
CYCLES = 3
"""A slot must have been seen this often before it is used."""
PINBALL = 0.9
"""Quantile of the pinball loss: too little costs nine times as much as too much."""
SKILL = 0.95
"""A season's loss must be below this share of the base demand's."""
SCORES_KEPT = 400.0
"""Memory of the losses, in scores."""
NOTABLE_RISE = 1.3
"""Smallest rise of a minute above the usual level that is forecast; the base demand covers less."""


@dataclass(frozen=True, slots=True)
class Cycle:
    """One period's slots: for the hour, rises above the usual level; else requests per second."""

    period: float
    values: tuple[float, ...]
    counts: tuple[int, ...]
    """How often each slot was seen, up to `CYCLES`."""
    loss: float = 0.0
    base_loss: float = 0.0
    scores: float = 0.0
    slot: int | None = None
    """The current slot."""
    total: float = 0.0
    peak: float = 0.0
    base: float = 0.0
    ticks: int = 0
    """Of the current slot: sums of rates and of base demands, the highest rate, and the number of ticks."""

    @classmethod
    def of(cls, period: float) -> "Cycle":
        """Return an empty cycle."""
        slots = SLOTS[period]
        return cls(period, (0.0,) * slots, (0,) * slots)

    @property
    def skilled(self) -> bool:
        """Whether it beat the base demand over at least one cycle, or 200 scores."""
        return self.scores >= min(len(self.values), SCORES_KEPT / 2) and self.loss < SKILL * self.base_loss

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
        return highest * usual if highest >= NOTABLE_RISE else None

    def document(self) -> dict[str, Any]:
        """Serialize for the status."""
        return {
            "values": [float(f"{value:.3g}") for value in self.values],
            "counts": "".join(map(str, self.counts)),
            "skill": [float(f"{value:.4g}") for value in (self.loss, self.base_loss, self.scores)],
        }

    @classmethod
    def restore(cls, period: float, document: Any) -> "Cycle":
        """Deserialize; ValueError, TypeError or LookupError if it is malformed."""
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
        """Return the highest rate that a skilled cycle expects up to the horizon; None if none has skill."""
        if usual is None:
            return None
        expected = [cycle.forecast(now, horizon, usual) for cycle in self.cycles]
        return max((rate for rate in expected if rate is not None), default=None)

    def document(self) -> dict[str, Any]:
        """Serialize for the status; a cycle without data is left out."""
        return {str(round(cycle.period)): cycle.document() for cycle in self.cycles if any(cycle.counts)}

    @classmethod
    def restore(cls, document: Any) -> "Season":
        """Deserialize; ValueError, TypeError or LookupError if it is malformed."""
        entries = {float(period): entry for period, entry in document.items()}
        return cls(
            tuple(Cycle.restore(period, entries[period]) if period in entries else Cycle.of(period) for period in SLOTS)
        )


def update_season(season: Season, rate: float, base: float, usual: float, now: float) -> Season:
    """Return the season after one tick with `rate`, for which `base` had been planned a horizon ago."""
    return Season(tuple(_update_cycle(cycle, rate, base, usual, now) for cycle in season.cycles))


def learn_season(season: Season, history: History) -> Season:
    """Return the season with the past recorded; that proves no skill, because nothing was forecast then."""
    usual: float | None = None
    for index, rate in enumerate(history.rates):
        if 0 <= rate < math.inf:
            usual = rate if usual is None else usual + min(1.0, history.step_seconds / 600.0) * (rate - usual)
            season = update_season(season, rate, 0.0, usual, history.start_seconds + index * history.step_seconds)
    return Season(tuple(replace(cycle, loss=0.0, base_loss=0.0, scores=0.0) for cycle in season.cycles))


def _update_cycle(cycle: Cycle, rate: float, base: float, usual: float, now: float) -> Cycle:
    slot = cycle.slot_at(now)
    if slot == cycle.slot:
        peak = max(cycle.peak, rate)
        return replace(cycle, total=cycle.total + rate, base=cycle.base + base, peak=peak, ticks=cycle.ticks + 1)
    closed = cycle if cycle.slot is None else _close(cycle, cycle.slot, usual)
    return replace(closed, slot=slot, total=rate, base=base, peak=rate, ticks=1)


def _close(cycle: Cycle, slot: int, usual: float) -> Cycle:
    """Score the forecast of a slot that is over, and record what the slot brought."""
    hourly = cycle.period == HOUR
    scale = usual if hourly and usual > 0 else 1.0
    actual = (cycle.peak if hourly else cycle.total / cycle.ticks) / scale
    value, count = cycle.values[slot], cycle.counts[slot]
    if count >= CYCLES:
        kept = 1 - 1 / SCORES_KEPT
        base = cycle.base / cycle.ticks / scale
        # The season never lowers the base demand, so its forecast is scored as the larger of the two.
        planned = max(base, value) if not hourly or value >= NOTABLE_RISE else base
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
