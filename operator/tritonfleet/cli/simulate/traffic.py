"""The traffic: a recorded trace or a made one, as long and as dense as was asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tritonfleet.cli.amounts import per_second, spoken
from tritonfleet.cli.complaint import Complaint
from tritonfleet.cli.simulate.recording import read_recording
from tritonfleet.sim import STEP_SECONDS, WORKLOAD_NAMES, Times, Trace, workload

HOUR_SECONDS, DAY_SECONDS = 3600.0, 86400.0
LENGTHS: Final = {"daily": DAY_SECONDS, "bursty": DAY_SECONDS, "weekly": 7 * DAY_SECONDS}
"""How long made traffic is unless told; all else lasts four hours."""
USUAL_PEAK: Final = 0.75
"""Made traffic asks at its busiest minute for this share of what the largest fleet carries, unless told."""
QUICK_REQUESTS: Final = 150e6
"""Made traffic ends, or is pressed, so that it has no more unless told: a minute's work for each scaler."""
COUNTING_STEP_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Part:
    """The beginning of a trace."""

    whole: Trace
    duration_seconds: float

    @property
    def name(self) -> str:
        """Return the trace's name."""
        return self.whole.name

    def arrivals(self, start: float, end: float) -> Times:
        """Return the arrivals in [start, end), none after the part's end."""
        return self.whole.arrivals(start, min(end, self.duration_seconds))

    def scaled(self, factor: float) -> "Part":
        """Return the same part of the scaled trace."""
        return Part(self.whole.scaled(factor), self.duration_seconds)


def listing() -> str:
    """Return what can be named instead of a file, and for how long each lasts."""
    return "\n".join(f"{name:<16}{spoken(LENGTHS.get(name, 4 * HOUR_SECONDS))}" for name in WORKLOAD_NAMES)


def mean_rate(trace: Trace) -> float:
    """Return requests per second over the whole trace."""
    starts = np.arange(0.0, trace.duration_seconds, COUNTING_STEP_SECONDS)
    requests = sum(len(trace.arrivals(start, start + COUNTING_STEP_SECONDS)) for start in starts)
    return requests / trace.duration_seconds


@dataclass(frozen=True, slots=True)
class Traffic:
    """A trace and what was done to it, in sentences."""

    trace: Trace
    notes: tuple[str, ...]


def chosen(source: str, *, rate: float | None, duration_seconds: float | None, seed: int, capacity: float) -> Traffic:
    """Return the traffic of a file or of a built-in name.

    Made traffic asks for three quarters of `capacity`, in requests per second, at its busiest minute, unless `rate`
    says otherwise. Raises Complaint.
    """
    if source in WORKLOAD_NAMES:
        return _made(source, rate, duration_seconds, seed, capacity)
    if not Path(source).exists() and source != "-":
        raise Complaint(f"--trace: '{source}' is neither a file nor one of {', '.join(WORKLOAD_NAMES)}")
    recording = read_recording(source, seed)
    trace: Trace = recording.trace
    notes = list(recording.notes)
    if duration_seconds is not None and duration_seconds < trace.duration_seconds:
        trace = Part(trace, duration_seconds)
    elif duration_seconds is not None and duration_seconds > trace.duration_seconds:
        notes.append(f"the trace ends after {spoken(trace.duration_seconds)}, before --duration")
    if rate is not None:
        factor = rate / mean_rate(trace)
        trace = trace.scaled(factor)
        notes.append(
            f"{'laid over itself' if factor > 1 else 'thinned'} to {per_second(rate)} requests/s: {factor:.3g} times"
        )
    return Traffic(trace, tuple(notes))


def _made(name: str, rate: float | None, duration_seconds: float | None, seed: int, capacity: float) -> Traffic:
    usual = LENGTHS.get(name, 4 * HOUR_SECONDS)
    length = duration_seconds or usual
    notes = []
    if rate is None:
        minutes = workload(name, 1.0, length, seed).rates
        rate = USUAL_PEAK * capacity / max(1.0, float(np.max(_per_minute(minutes))))
        notes.append(f"the rate is such that the busiest minute takes {USUAL_PEAK:.0%} of maxReplicas; --rate sets it")
    if duration_seconds is None and rate * usual > QUICK_REQUESTS:
        length = np.ceil(QUICK_REQUESTS / rate / 60) * 60
        notes.append(f"{spoken(usual)} of it would take long: cut to {spoken(length)}; --duration sets it")
    return Traffic(workload(name, rate, length, seed), tuple(notes))


def _per_minute(rates: Times) -> Times:
    steps = int(60 / STEP_SECONDS)
    padded = np.pad(rates, (0, -len(rates) % steps), mode="edge")
    return np.asarray(padded.reshape(-1, steps).mean(axis=1))
