"""The outcome of a simulation as text and as JSON, with its caveats.

`Outcome` holds every scaler's run on the same requests, and the clairvoyant's. `report()` is the text: a table, the
worst minutes, and the warnings of `caveats()`. `record()` is `--json`.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tritonfleet.api.quantities import counted
from tritonfleet.cli.arguments import format_duration, per_second
from tritonfleet.cli.simulate.scenario import Fleet
from tritonfleet.sim import Run

OURS: Final = "tritonfleet"

MINUTE_SECONDS = 60.0
FEW_REQUESTS = 1000
"""Too few to estimate a 99th percentile."""

WORST_SHOWN = 5

WORST_GIVEN = 10


@dataclass(frozen=True)
class Entry:
    """One scaler and its run."""

    key: str
    """Its name on the command line."""
    title: str
    """Its title, with its settings."""
    run: Run


@dataclass(frozen=True)
class Outcome:
    """One trace against one manifest."""

    headline: str
    entries: tuple[Entry, ...]
    """Ours first."""
    oracle: Entry | None
    """The clairvoyant's run; None if the SLO is infeasible."""
    gpus_per_replica: int
    max_replicas: int
    assumptions: tuple[str, ...]
    """The assumptions of the simulation, in sentences."""
    warnings: tuple[str, ...] = ()
    """Caveats of the numbers."""
    took_seconds: float = 0.0
    """Duration of the simulation itself."""
    minute_seconds: float = 60.0

    @property
    def ours(self) -> Entry:
        """Tritonfleet's run."""
        return self.entries[0]

    def ratio(self, entry: Entry) -> float | None:
        """Return GPU-hours as a multiple of the clairvoyant's."""
        least = self.oracle.run.gpu_hours if self.oracle is not None else 0.0
        return entry.run.gpu_hours / least if least > 0 else None

    @property
    def ranked(self) -> tuple[Entry, ...]:
        """Every entry, the clairvoyant first, then ours."""
        return (self.oracle, *self.entries) if self.oracle is not None else self.entries

    @property
    def latency_seconds(self) -> float:
        """The SLO's target."""
        return self.ours.run.latency_seconds

    @property
    def percentile(self) -> float:
        """The SLO's percentile, in percent."""
        return self.ours.run.percentile

    @property
    def duration_seconds(self) -> float:
        """Length of the trace."""
        return self.ours.run.duration_seconds

    @property
    def cost_unit(self) -> str:
        """The unit of `gpu_hours`: replica-hours without GPUs."""
        return "GPU-h" if self.gpus_per_replica else "replica-h"


def caveats(chosen: Fleet, run: Run) -> Iterator[str]:
    """Yield a sentence for each limitation that affects every scaler."""
    target = chosen.slo.latency_seconds
    if not chosen.feasible:
        yield (
            f"no number of replicas can meet this SLO: a single request takes {format_duration(chosen.idle_seconds)},"
            f" the target is {format_duration(target)}. The operator then scales by throughput and reports"
            " SLOInfeasible; there is no clairvoyant to compare with"
        )
    elif (needed := _replicas_needed(chosen, run)).max(initial=0) > chosen.policy.max_replicas:
        short = int(np.sum(needed > chosen.policy.max_replicas))
        busiest = per_second(run.minutes.arrivals.max() / MINUTE_SECONDS)
        yield (
            f"maxReplicas {chosen.policy.max_replicas} is too low for this traffic: {short} of {len(needed)} minutes"
            f" need more, the busiest {needed.max()} ({busiest} requests/s)"
        )
    ready_seconds = chosen.plant.ready.at(0.5)
    if run.duration_seconds < 2 * ready_seconds:
        yield (
            f"the trace lasts {format_duration(run.duration_seconds)} and a pod takes {format_duration(ready_seconds)}"
            " to become ready: too short to compare scalers; --ready-time sets the time of your pods"
        )
    if run.requests < FEW_REQUESTS:
        yield f"too few to estimate the 99th percentile: {counted(run.requests, 'request')}; --rate makes more"


def _replicas_needed(chosen: Fleet, run: Run) -> np.ndarray:
    """Return how many replicas each whole minute's mean rate needs."""
    rates = run.minutes.arrivals / MINUTE_SECONDS
    return np.ceil(rates / chosen.capacity).astype(int)


def comparison_rows(outcome: Outcome) -> list[tuple[str, ...]]:
    """Return a header and one row per scaler: the clairvoyant, then ours."""
    rows: list[tuple[str, ...]] = [
        ("scaler", outcome.cost_unit, "ratio", "attained", "missed", "over SLO", "events", "flips")
    ]
    rows.extend(_row(entry, outcome.ratio(entry)) for entry in outcome.ranked)
    return rows


def _row(entry: Entry, ratio: float | None) -> tuple[str, ...]:
    run = entry.run
    return (
        entry.title,
        f"{run.gpu_hours:.1f}",
        f"{ratio:.2f}" if ratio is not None else "-",
        f"{run.attainment:.2%}",
        f"{run.requests - run.good:,}",
        f"{run.minutes_over_slo}m",
        f"{run.scale_events}",
        f"{run.direction_flips}",
    )


def worst_rows(outcome: Outcome) -> list[tuple[str, ...]]:
    """Return a header and the minutes in which most of our requests missed the SLO, worst first."""
    run = outcome.ours.run
    minutes = run.minutes
    rows: list[tuple[str, ...]] = [
        ("worst minutes", "requests/s", "missed", f"p{outcome.percentile:g}", "ready", "wanted")
    ]
    for minute in run.worst_minutes(WORST_SHOWN):
        arrivals, good = int(minutes.arrivals[minute]), int(minutes.good[minute])
        if good == arrivals:
            break
        rows.append(
            (
                clock(minute * outcome.minute_seconds),
                per_second(arrivals / outcome.minute_seconds),
                f"{1 - good / arrivals:.1%}",
                _latency(float(minutes.percentile_seconds[minute])),
                f"{minutes.ready[minute]:.1f}",
                f"{minutes.wanted[minute]:.1f}",
            )
        )
    return rows


def _latency(seconds: float) -> str:
    return "-" if seconds != seconds else format_duration(seconds)  # noqa: PLR0124 - NaN where nothing was answered


def clock(seconds: float) -> str:
    """Return a time of the trace: `07:05`, `3d 07:05`."""
    days, rest = divmod(int(seconds), 86400)
    return f"{f'{days}d ' if days else ''}{rest // 3600:02}:{rest % 3600 // 60:02}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return a table: the first column left-aligned, the others right-aligned."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: Iterable[str], widths: Sequence[int]) -> str:
    first, *others = zip(row, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]).rstrip()


def report(outcome: Outcome) -> str:
    """Return the report as text."""
    worst = worst_rows(outcome)
    parts = [
        outcome.headline,
        "\n".join(f"  {line}" for line in outcome.assumptions),
        aligned(comparison_rows(outcome)),
        aligned(worst) if len(worst) > 1 else f"no request missed the SLO under {outcome.ours.title}",
        *(f"warning: {line}" for line in outcome.warnings),
        f"simulated in {format_duration(outcome.took_seconds)}",
    ]
    return "\n\n".join(parts)


def record(outcome: Outcome) -> dict[str, Any]:
    """Return the report as data, unrounded; latencies in seconds, minutes from the start."""
    ours = outcome.ours.run
    return {
        "trace": ours.trace,
        "durationSeconds": ours.duration_seconds,
        "requests": ours.requests,
        "seed": ours.seed,
        "slo": {"percentile": ours.percentile, "latencySeconds": ours.latency_seconds},
        "maxReplicas": outcome.max_replicas,
        "gpusPerReplica": outcome.gpus_per_replica,
        "assumptions": list(outcome.assumptions),
        "warnings": list(outcome.warnings),
        "clairvoyant": _entry(outcome.oracle, outcome) if outcome.oracle is not None else None,
        "scalers": [_entry(entry, outcome) for entry in outcome.entries],
    }


def _entry(entry: Entry, outcome: Outcome) -> dict[str, Any]:
    run = entry.run
    return {
        "name": entry.key,
        "title": entry.title,
        "gpuHours" if outcome.gpus_per_replica else "replicaHours": run.gpu_hours,
        "ratioToClairvoyant": outcome.ratio(entry),
        "attainment": run.attainment,
        "missed": run.requests - run.good,
        "rejected": run.rejected,
        "lost": run.lost,
        "scaleEvents": run.scale_events,
        "directionFlips": run.direction_flips,
        "minutesOverSlo": run.minutes_over_slo,
        "replicaMinutes": [round(float(replicas), 2) for replicas in run.minutes.billed],
        "worstMinutes": [_minute(entry, minute) for minute in run.worst_minutes(WORST_GIVEN)],
    }


def _minute(entry: Entry, minute: int) -> dict[str, Any]:
    minutes = entry.run.minutes
    latency = float(minutes.percentile_seconds[minute])
    return {
        "minute": minute,
        "arrivals": int(minutes.arrivals[minute]),
        "good": int(minutes.good[minute]),
        "percentileSeconds": None if math.isnan(latency) else latency,
        "readyReplicas": float(minutes.ready[minute]),
        "uncappedReplicas": float(minutes.wanted[minute]),
    }
