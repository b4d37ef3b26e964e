"""`status.autoscaling`: written when a decision changes, or once a minute when numbers have moved noticeably.

What is written is rounded and then kept until the next time, so that a fleet at rest costs no writes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from tritonfleet.api.conditions import Reason, shortened
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.status import FIELD_OF_PERCENTILE, HISTORY_MAX
from tritonfleet.plan.autoscale import ScaleReason, Verdict
from tritonfleet.plan.scaling import has_slo
from tritonfleet.plan.schedules import Limits
from tritonfleet.plan.world import Event, Manifest

REFRESH: Final = timedelta(seconds=55)
"""Numbers alone are written no more often than this; less than a minute, at which new ones come."""
KEEPSAKE: Final = timedelta(minutes=5)
"""While there is traffic, what was learned is written down at least so often: a new process starts from it."""
NOTICEABLE: Final = 0.1
"""A number that has moved by less than a tenth is the same to a reader."""
_NOTICEABLE_SHARE: Final = 0.002

_DECISION: Final = ("desiredReplicas", "minReplicas", "maxReplicas")
_CALM: Final = frozenset(
    reason.value
    for reason in (
        ScaleReason.STEADY,
        ScaleReason.HOLDING,
        ScaleReason.AT_MIN_REPLICAS,
        ScaleReason.AT_MAX_REPLICAS,
        ScaleReason.NO_TRAFFIC,
    )
)
"""At the border between one number of replicas and the next, or between some traffic and none, these come and go."""
_NUMBERS: Final = ("wantedReplicas", "observedRate", "capacityPerReplica", "forecast", "readySeconds")


@dataclass(frozen=True, slots=True)
class ScaleReport:
    """`status.autoscaling` after this decision."""

    document: Manifest
    fresh: bool
    """Whether it says anything that the status did not say before."""
    event: Event | None = None


def scale_report(
    deployment: ModelDeployment, body: Manifest, verdict: Verdict | None, limits: Limits | None, now: datetime
) -> ScaleReport:
    """Return what the status says of scaling; without a verdict what it said before, and nothing without an SLO."""
    status = body.get("status") or {}
    before: Manifest = status.get("autoscaling") or {}
    if deployment.spec.slo is None:
        return ScaleReport({}, fresh=bool(before))
    if verdict is None or limits is None or not has_slo(deployment):
        return ScaleReport(before, fresh=False)
    document = _document(deployment, verdict, limits)
    current = status.get("observedGeneration") == deployment.metadata.generation
    if "at" in before and current and not _worth_writing(before, document, status, verdict, now):
        return ScaleReport(before, fresh=False)
    document["at"] = timestamp(now)
    document["memory"] = verdict.memory.document()
    event = _record(document, before)
    return ScaleReport(document, fresh=True, event=event if deployment.spec.scaled_by_us else None)


def keepsake(body: Manifest, verdict: Verdict) -> Manifest | None:
    """Return the whole status with what is remembered by now, for the process that comes next; None if it has that."""
    status: Manifest = body.get("status") or {}
    before, memory = status.get("autoscaling") or {}, verdict.memory.document()
    if "at" not in before or before.get("memory") == memory:
        return None
    return {**status, "autoscaling": {**before, "memory": memory}}


def slo_state(verdict: Verdict) -> Reason:
    """Return the reason of `SLOMet`."""
    attainment = verdict.attainment
    if attainment.reason is not None:
        return Reason(attainment.reason.value)
    if attainment.met is None:
        return Reason.NOT_OBSERVED
    return Reason.MET if attainment.met else Reason.MISSED


def significant(value: float | None, digits: int = 3) -> float | None:
    """Round to so many significant digits; None for what is no number."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


def milliseconds(seconds: float | None) -> str | None:
    """Write a latency as `47.3ms`, with three significant digits."""
    value = significant(None if seconds is None else seconds * 1000)
    return None if value is None else f"{value:g}ms" if value < 1e6 else f"{value:.0f}ms"


def timestamp(now: datetime) -> str:
    """Write a moment as Kubernetes does."""
    return now.isoformat(timespec="seconds").replace("+00:00", "Z")


def _document(deployment: ModelDeployment, verdict: Verdict, limits: Limits) -> Manifest:
    latency = deployment.spec.slo.latency if deployment.spec.slo is not None else None
    attainment = verdict.attainment
    found: dict[str, Any] = {
        "observedRate": significant(verdict.rate),
        "capacityPerReplica": significant(verdict.capacity_per_replica),
        "sloAttainment": round(attainment.within, 4) if attainment.within is not None else None,
        "forecast": significant(verdict.forecast),
        "readySeconds": significant(verdict.ready_seconds, 2),
        "metricsAge": _age(verdict.metrics_age_seconds),
    }
    if latency is not None and attainment.percentile_seconds is not None:
        found[FIELD_OF_PERCENTILE[latency.percentile]] = milliseconds(attainment.percentile_seconds)
        found["p99Source"] = attainment.source
    if deployment.spec.scales_by_slo:
        found |= {
            "desiredReplicas": max(limits.lowest, min(limits.highest, verdict.replicas)),
            "wantedReplicas": verdict.wanted,
            "minReplicas": limits.lowest,
            "maxReplicas": limits.highest,
            "reason": verdict.reason.value,
            "message": shortened(verdict.message),
        }
    return {name: value for name, value in found.items() if value is not None}


def _worth_writing(
    before: Mapping[str, Any], document: Mapping[str, Any], status: Manifest, verdict: Verdict, now: datetime
) -> bool:
    if any(before.get(name) != document.get(name) for name in _DECISION):
        return True
    reasons = {before.get("reason"), document.get("reason")}
    if len(reasons) > 1 and not reasons <= _CALM:
        return True
    age = abs(now - datetime.fromisoformat(before["at"]))
    if age < REFRESH:
        return False
    if age >= KEEPSAKE and document.get("observedRate") and before.get("memory") != verdict.memory.document():
        return True
    return len(reasons) > 1 or _has_moved(before, document) or _slo_condition(status) != slo_state(verdict)


def _has_moved(before: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    if any(_differ(before.get(name), document.get(name)) for name in _NUMBERS):
        return True
    if before.get("p99Source") != document.get("p99Source"):
        return True
    if abs(before.get("sloAttainment", 1.0) - document.get("sloAttainment", 1.0)) > _NOTICEABLE_SHARE:
        return True
    return any(_differ(_number(before.get(name)), _number(document.get(name))) for name in FIELD_OF_PERCENTILE.values())


def _differ(before: float | None, after: float | None) -> bool:
    if before is None or after is None:
        return before is not after
    return abs(after - before) > NOTICEABLE * max(abs(before), abs(after))


def _number(latency: str | None) -> float | None:
    try:
        return float(latency.removesuffix("ms")) if latency is not None else None
    except ValueError:
        # Somebody has edited the status: any number is news then.
        return None


def _slo_condition(status: Manifest) -> str | None:
    return next((each["reason"] for each in status.get("conditions") or () if each["type"] == "SLOMet"), None)


def _record(document: Manifest, before: Mapping[str, Any]) -> Event | None:
    """Carry the history over, and add to it if the number of pods changed."""
    for name in ("history", "lastScaleTime"):
        if name in before:
            document[name] = before[name]
    old, new = before.get("desiredReplicas"), document.get("desiredReplicas")
    if old is None or new is None or old == new:
        return None
    reason, message = document["reason"], document["message"]
    entry = {"at": document["at"], "from": old, "to": new, "reason": reason, "message": message}
    document["history"] = [entry, *before.get("history", ())][:HISTORY_MAX]
    document["lastScaleTime"] = document["at"]
    return Event("Normal", "ScaledUp" if new > old else "ScaledDown", f"from {old} to {new} ({reason}): {message}")


def _age(seconds: float | None) -> str | None:
    value = significant(seconds, 2)
    return f"{value:.0f}s" if value is not None and 0 <= value < 1e6 else None
