"""What is replayed: traces by name, each with what goes wrong meanwhile."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.autoscale.contenders import INFORMED, PARTS, WITHOUT, Contender
from benchmarks.autoscale.recorded import read, recordings
from benchmarks.autoscale.settings import SETTINGS, Setting
from tritonfleet.plan.autoscale import History
from tritonfleet.sim import (
    STEP_SECONDS,
    WORKLOAD_NAMES,
    Blackout,
    CounterReset,
    Fault,
    PodLoss,
    RateTrace,
    Slower,
    Trace,
    Unscraped,
    workload,
)

HOUR = 3600.0
HOURS: Mapping[str, float] = {"daily": 3.0, "bursty": 3.0}
"""Days are pressed into these: eight times as steep as real ones."""
HOURS_OTHERWISE = 0.75
TOO_LONG = "weekly"
"""Pressed into hours, a week is no longer one."""
FAULT_HOURS = 2.0
FAST_HOURS = 0.5
MAIN = ("ours", "ours-restarted", "ours-killed", "keda", "kpa")
"""Who plays where there are very many requests."""
MOST = (*MAIN, "hpa-arrivals", "hpa-latency", "kpa-delay")
"""Who plays on made traffic; recorded traffic is for all."""
PARTED = (*MOST, INFORMED, *(f"{WITHOUT}{part}" for part in PARTS))
"""Who plays on made traffic without faults: ours also with parts left out, and told the day before."""
BLACKOUT_SECONDS = 1200.0
FAULTED = "daily"
"""The trace that faults are shown on: nothing else happens on it."""
BURSTY = "bursty"
FLAT = "flat"
"""Independent users at a constant rate: every change of scale here follows noise."""
OTHER_DAY = 1000
"""The day before a trace is made from a seed that is so much larger."""
ELSEWHERE = (
    ("slow", FLAT, 3.0),
    ("slow, 30 s", "bursty", 3.0),
    ("slow, 5 min", "bursty", 3.0),
    ("slow, 5 min", "daily", 3.0),
    ("slow, 12 min", "steps", 4.0),
    ("slow, random", "daily", 2.0),
    ("slow, sigma 0.5", "daily", 2.0),
    ("slow, sigma 1", "daily", 2.0),
    ("heavy", "bursty", 4.0),
    ("seconds", "daily", 6.0),
    ("seconds", "bursty", 6.0),
)
"""Setting, trace and hours: slow starts and fast ones, slow models, few requests, times that vary, a Service."""


@dataclass(frozen=True)
class Scene:
    """One trace in one setting, with faults. Picklable: workers make the trace themselves."""

    name: str
    setting_name: str
    trace_name: str
    file: Path | None = None
    """Where the trace is recorded; None for a generated one."""
    fault: str = ""
    hours: float = 0.0
    """Length of a generated trace; 0 for the usual one."""
    families: tuple[str, ...] = ()
    """Who plays; nobody named means all."""

    @property
    def swept(self) -> bool:
        """Whether rivals try all their targets here, and not only the usual one."""
        return not self.fault

    def takes(self, contender: Contender) -> bool:
        """Whether a contender plays here."""
        return (self.swept or contender.usual) and (not self.families or contender.family.name in self.families)

    @property
    def setting(self) -> Setting:
        """The fleet that it is replayed against."""
        return SETTINGS[self.setting_name]

    def trace(self, seed: int) -> Trace:
        """Return the trace at the setting's mean rate; a recorded one at less if its busiest minute wants too many."""
        rate = self.setting.mean_rate
        if self.file is None:
            hours = self.hours or HOURS.get(self.trace_name, HOURS_OTHERWISE)
            return _made(self.trace_name, rate, hours * HOUR, seed)
        original = read(self.file)
        mean, most = len(original.times) / original.duration_seconds, _per_minute(original).max() / 60
        return original.scaled(min(rate / mean, self.setting.busiest_rate / most))

    def history(self, seed: int) -> History | None:
        """Return another day's rates of the same kind of traffic; None for a recorded trace."""
        if self.file is not None:
            return None
        day = _made(self.trace_name, self.setting.mean_rate, 24 * HOUR, seed + OTHER_DAY)
        return History(-24 * HOUR, STEP_SECONDS, tuple(day.rates.tolist()))

    def faults(self, trace: Trace) -> tuple[Fault, ...]:
        """Return what goes wrong, placed by the trace's own peak."""
        peak = _peak(trace)
        start, end = peak - BLACKOUT_SECONDS / 2, peak + BLACKOUT_SECONDS / 2
        every_ten_minutes = np.arange(600.0, trace.duration_seconds, 600.0).tolist()
        placed: dict[str, tuple[Fault, ...]] = {
            "": (),
            "slower": (Slower(start),),
            "blackout": (Blackout(start, end),),
            "unscraped": (Unscraped(start, end, 0.5),),
            "reset": tuple(CounterReset(at) for at in every_ten_minutes),
            "loss": (PodLoss(peak, 2),),
        }
        return placed[self.fault]


FAULTS = ("slower", "blackout", "unscraped", "reset", "loss")


def scenes(directory: Path | None, hours: float = 0.0) -> list[Scene]:
    """Return every scene: recorded traces, generated ones, faults, and some of them with the faster model."""
    recorded = {} if directory is None else recordings(directory)
    found = [Scene(name, "slow", name, file) for name, file in recorded.items()]
    found += [Scene(name, "slow", name, hours=hours, families=PARTED) for name in WORKLOAD_NAMES if name != TOO_LONG]
    found += [
        Scene(f"{trace}, {setting}", setting, trace, hours=hours or length, families=PARTED)
        for setting, trace, length in ELSEWHERE
    ]
    found += [
        Scene(f"{FAULTED}+{fault}", "slow", FAULTED, fault=fault, hours=hours or FAULT_HOURS, families=MOST)
        for fault in FAULTS
    ]
    found.append(Scene("spikes, fast model", "fast", "spikes", hours=hours or FAST_HOURS, families=MAIN))
    return found


def _made(name: str, rate: float, seconds: float, seed: int) -> RateTrace:
    if name == FLAT:
        return RateTrace(FLAT, STEP_SECONDS, np.full(round(seconds / STEP_SECONDS), rate), seed)
    return workload(name, rate, seconds, seed)


def _peak(trace: Trace) -> float:
    """Return the middle of the ten busiest minutes in a row, leaving room for a blackout on either side."""
    busiest = np.convolve(_per_minute(trace), np.ones(10), mode="same")
    middle = 60.0 * float(np.argmax(busiest))
    return float(np.clip(middle, BLACKOUT_SECONDS, max(BLACKOUT_SECONDS, trace.duration_seconds - BLACKOUT_SECONDS)))


def _per_minute(trace: Trace) -> NDArray[np.int64]:
    edges = np.arange(0.0, trace.duration_seconds, 60.0)
    return np.array([len(trace.arrivals(edge, edge + 60.0)) for edge in edges])
