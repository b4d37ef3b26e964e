"""The outcome as plain data, for programs: `--json`."""

import math
from typing import Any

from tritonfleet.cli.simulate.outcome import Entry, Outcome

WORST_GIVEN = 10


def record(outcome: Outcome) -> dict[str, Any]:
    """Return everything that the text says, unrounded; latencies in seconds, minutes from the start."""
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
        "wantedReplicas": float(minutes.wanted[minute]),
    }
