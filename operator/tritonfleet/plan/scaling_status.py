"""The status of scaling: `status.autoscaling`, `SLOMet`, `ScalingActive`, and conflicting autoscalers.

`reconcile()` calls `scale_report()` with the autoscaler's last verdict, and `status.py` asks for the conditions.
`status.autoscaling` is written when a decision changes, or once a minute when numbers have moved noticeably, so that
an idle fleet costs no writes: a rate of 100/s that becomes 109/s is not written, and one that becomes 112/s is, at
least 55 s after the last write. When the operator stops, `runtime` saves what the autoscaler has learned
(`checkpoint()`).

A HorizontalPodAutoscaler that competes with the operator is reported in `ScalingActive`, with the remedy.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from tritonfleet.api import names
from tritonfleet.api.conditions import Condition, ConditionStatus, ConditionType, Reason, shortened
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.quantities import counted
from tritonfleet.api.status import FIELD_OF_PERCENTILE, HISTORY_MAX
from tritonfleet.plan.autoscale import ScaleReason, Verdict
from tritonfleet.plan.scaling import Limits, has_slo, kept_replicas
from tritonfleet.plan.world import Event, Manifest, Observed

REFRESH: Final = timedelta(seconds=55)
"""Numbers alone are written no more often than this; just under the minute at which new ones come."""
CHECKPOINT_INTERVAL: Final = timedelta(minutes=5)
"""While there is traffic, the memory is written at least this often: a new process starts from it."""
NOTICEABLE: Final = 0.1
"""Smaller relative changes are not worth a write."""
_NOTICEABLE_SHARE: Final = 0.002

_DECISION: Final = ("desiredReplicas", "minReplicas", "maxReplicas")
_CALM: Final = frozenset(
    reason.value
    for reason in (
        ScaleReason.STEADY,
        ScaleReason.SCALE_DOWN_STABILIZED,
        ScaleReason.AT_MIN_REPLICAS,
        ScaleReason.AT_MAX_REPLICAS,
        ScaleReason.NO_TRAFFIC,
    )
)
"""These alternate at the border between two replica counts, or between little traffic and none."""
_NUMBERS: Final = ("uncappedReplicas", "observedRate", "capacityPerReplica", "forecast", "podStartupSeconds")
_BLIND = frozenset({ScaleReason.METRICS_STALE, ScaleReason.SERIES_MISSING})


@dataclass(frozen=True, slots=True)
class ScaleReport:
    """`status.autoscaling` after this decision."""

    document: Manifest
    fresh: bool
    """Whether it differs from the current status."""
    event: Event | None = None


def scale_report(
    deployment: ModelDeployment, body: Manifest, verdict: Verdict | None, limits: Limits | None, now: datetime
) -> ScaleReport:
    """Return the status of scaling; unchanged without a verdict, empty without an SLO."""
    status = body.get("status") or {}
    before: Manifest = status.get("autoscaling") or {}
    kept = kept_replicas(deployment, body) if "desiredReplicas" in before else None
    if deployment.spec.slo is None:
        left: Manifest = {"desiredReplicas": kept} if kept is not None else {}
        return ScaleReport(left, fresh=before != left)
    if kept is None and deployment.spec.autoscaling is None:
        # `replicas` decides now: what `autoscaling` left must not come back with the next edit.
        before = {name: value for name, value in before.items() if name != "desiredReplicas"}
    if verdict is None or limits is None or not has_slo(deployment):
        return ScaleReport(before, fresh=False)
    document = _document(deployment, verdict, limits)
    if kept is not None:
        document["desiredReplicas"] = kept
    current = status.get("observedGeneration") == deployment.metadata.generation
    if "at" in before and current and not _worth_writing(before, document, status, verdict, now):
        return ScaleReport(before, fresh=False)
    document["at"] = timestamp(now)
    document["memory"] = verdict.memory.document()
    event = _record(document, before)
    return ScaleReport(document, fresh=True, event=event if deployment.spec.scaled_by_us else None)


def checkpoint(body: Manifest, verdict: Verdict) -> Manifest | None:
    """Return the whole status with the current memory, for the next process; None if it is already there."""
    status: Manifest = body.get("status") or {}
    before, memory = status.get("autoscaling") or {}, verdict.memory.document()
    if "at" not in before or before.get("memory") == memory:
        return None
    return {**status, "autoscaling": {**before, "memory": memory}}


def slo_state(verdict: Verdict) -> Reason | ScaleReason:
    """Return the reason of `SLOMet`."""
    attainment = verdict.attainment
    if attainment.reason is not None:
        return attainment.reason
    if attainment.met is None:
        return Reason.NOT_OBSERVED
    return Reason.MET if attainment.met else Reason.MISSED


def significant(value: float | None, digits: int = 3) -> float | None:
    """Round to significant digits; None for NaN and infinity."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


def milliseconds(seconds: float | None) -> str | None:
    """Write a latency as `47.3ms`, with three significant digits."""
    value = significant(None if seconds is None else seconds * 1000)
    return None if value is None else f"{value:g}ms" if value < 1e6 else f"{value:.0f}ms"


def timestamp(now: datetime) -> str:
    """Format a time as Kubernetes does."""
    return now.isoformat(timespec="seconds").replace("+00:00", "Z")


def _document(deployment: ModelDeployment, verdict: Verdict, limits: Limits) -> Manifest:
    slo, attainment = deployment.spec.slo, verdict.attainment
    latency = slo.latency if slo is not None else None
    found: dict[str, Any] = {
        "observedRate": significant(verdict.rate),
        "capacityPerReplica": significant(verdict.capacity_per_replica),
        "sloAttainment": round(attainment.within, 4) if attainment.within is not None else None,
        "forecast": significant(verdict.forecast),
        "podStartupSeconds": significant(verdict.ready_seconds, 2),
        "metricsAge": _age(verdict.metrics_age_seconds),
    }
    if latency is not None and attainment.percentile_seconds is not None:
        found[FIELD_OF_PERCENTILE[latency.percentile]] = milliseconds(attainment.percentile_seconds)
        found["latencySource"] = attainment.source
    if slo is not None and slo.availability is not None and attainment.available is not None:
        found["availability"] = round(attainment.available, 5)
    if slo is not None and slo.queue_time is not None:
        found["queueTime"] = milliseconds(attainment.queue_seconds)
    if deployment.spec.scales_by_slo:
        found |= {
            "desiredReplicas": max(limits.lowest, min(limits.highest, verdict.replicas)),
            "uncappedReplicas": verdict.wanted,
            "minReplicas": limits.lowest,
            "maxReplicas": limits.highest,
            "reason": verdict.reason.value,
            "message": shortened(verdict.explain()),
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
    if (
        age >= CHECKPOINT_INTERVAL
        and document.get("observedRate")
        and before.get("memory") != verdict.memory.document()
    ):
        return True
    return len(reasons) > 1 or _has_moved(before, document) or _slo_condition(status) != slo_state(verdict)


def _has_moved(before: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    if any(_differ(before.get(name), document.get(name)) for name in _NUMBERS):
        return True
    if before.get("latencySource") != document.get("latencySource"):
        return True
    shares = ("sloAttainment", "availability")
    if any(abs(before.get(name, 1.0) - document.get(name, 1.0)) > _NOTICEABLE_SHARE for name in shares):
        return True
    return any(
        _differ(_milliseconds_of(before.get(name)), _milliseconds_of(document.get(name)))
        for name in (*FIELD_OF_PERCENTILE.values(), "queueTime")
    )


def _differ(before: float | None, after: float | None) -> bool:
    if before is None or after is None:
        return before is not after
    return abs(after - before) > NOTICEABLE * max(abs(before), abs(after))


def _milliseconds_of(latency: str | None) -> float | None:
    try:
        return float(latency.removesuffix("ms")) if latency is not None else None
    except ValueError:
        # The status was edited: any number counts as a change.
        return None


def _slo_condition(status: Manifest) -> str | None:
    return next((each["reason"] for each in status.get("conditions") or () if each["type"] == "SLOMet"), None)


def _record(document: Manifest, before: Mapping[str, Any]) -> Event | None:
    """Carry the history over, and add an entry if the number of pods changed."""
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


def scale_conditions(deployment: ModelDeployment, observed: Observed, report: ScaleReport) -> Iterator[Condition]:
    """Yield `SLOMet` and `ScalingActive`; one that is left out keeps its last value."""
    slo = _slo_met(deployment, observed, report)
    if slo is not None:
        yield slo
    active = _scaling_active(deployment, observed, report.document)
    if active is not None:
        yield active


def _slo_met(deployment: ModelDeployment, observed: Observed, report: ScaleReport) -> Condition | None:
    if deployment.spec.slo is None:
        return Condition(ConditionType.SLO_MET, ConditionStatus.UNKNOWN, Reason.NO_SLO, "`slo` is not set")
    if not has_slo(deployment):
        cause = "suspended" if deployment.spec.suspend else "replicas is 0"
        return Condition(ConditionType.SLO_MET, ConditionStatus.UNKNOWN, Reason.SUSPENDED, f"no pods run: {cause}")
    verdict = observed.scaling
    if observed.unread:
        return Condition(ConditionType.SLO_MET, ConditionStatus.UNKNOWN, Reason.METRICS_REFUSED, observed.unread)
    if verdict is None or not report.fresh:
        return None
    reason = slo_state(verdict)
    known = {ScaleReason.SLO_INFEASIBLE, ScaleReason.SLO_UNCERTAIN}
    if verdict.attainment.met is None and reason not in known:
        return Condition(ConditionType.SLO_MET, ConditionStatus.UNKNOWN, reason, verdict.explain())
    met = ConditionStatus.of(bool(verdict.attainment.met))
    status = ConditionStatus.UNKNOWN if reason is ScaleReason.SLO_UNCERTAIN else met
    return Condition(ConditionType.SLO_MET, status, reason, _against_target(deployment, verdict))


def _against_target(deployment: ModelDeployment, verdict: Verdict) -> str:
    slo, attainment = deployment.spec.slo, verdict.attainment
    parts = []
    if slo is not None and slo.latency is not None and attainment.percentile_seconds is not None:
        measured = milliseconds(attainment.percentile_seconds)
        parts.append(f"p{slo.latency.percentile:g} {measured}, target {slo.latency.target} ({attainment.source})")
    if attainment.within is not None and slo is not None and slo.latency is not None:
        window = f"over {attainment.window_seconds:.0f}s"
        parts.append(f"{100 * attainment.within:.4g}% of requests within the target {window}")
    if slo is not None and slo.queue_time is not None and attainment.queue_seconds is not None:
        parts.append(f"mean queue time {milliseconds(attainment.queue_seconds)}, limit {slo.queue_time}")
    if slo is not None and slo.availability is not None and attainment.available is not None:
        parts.append(f"{100 * attainment.available:.5g}% of requests answered, objective {slo.availability:g}%")
    if slo is not None and slo.throughput is not None and attainment.throughput is not None:
        parts.append(f"ready replicas can serve {significant(attainment.throughput):g} of {slo.throughput:g} req/s")
    if attainment.reason is ScaleReason.SLO_INFEASIBLE:
        parts.append("even an idle replica misses it: speed up the model, lower `maxQueueDelay`, or raise the target")
    if attainment.reason is ScaleReason.SLO_UNCERTAIN:
        parts.append("too near the objective for an estimate: a histogram of a gateway or of Triton would tell")
    return "; ".join(parts) or verdict.explain()


def _scaling_active(deployment: ModelDeployment, observed: Observed, document: Manifest) -> Condition | None:
    kind = ConditionType.SCALING_ACTIVE
    foreign = foreign_scaler(deployment, observed)
    if foreign is not None:
        return Condition(kind, ConditionStatus.FALSE, Reason.FOREIGN_SCALER, foreign)
    spec = deployment.spec
    if spec.suspend:
        return Condition(kind, ConditionStatus.FALSE, Reason.SUSPENDED, "no pods run: suspended")
    if not spec.scales_by_slo:
        return _scaled_by_others(deployment, observed, document.get("desiredReplicas"))
    if observed.unread:
        return Condition(kind, ConditionStatus.FALSE, Reason.METRICS_REFUSED, observed.unread)
    if document.get("reason") not in set(ScaleReason):
        return None
    reason = ScaleReason(document["reason"])
    advice = " (advisory: `replicas` applies)" if not spec.scaled_by_us else ""
    return Condition(kind, ConditionStatus.of(reason not in _BLIND), reason, document["message"] + advice)


def _scaled_by_others(deployment: ModelDeployment, observed: Observed, kept: int | None) -> Condition:
    kind, count = ConditionType.SCALING_ACTIVE, deployment.spec.declared_replicas
    other = external_scaler(observed)
    if other is not None:
        return Condition(kind, ConditionStatus.UNKNOWN, Reason.EXTERNAL_SCALER, f"{other} writes `replicas`")
    if deployment.spec.autoscaling is not None:
        message = "`replicas` is left to another scaler, but none was found"
        return Condition(kind, ConditionStatus.UNKNOWN, Reason.EXTERNAL_SCALER, message)
    message = f"`autoscaling` is not set: `replicas` is {count}"
    if kept is not None:
        message = f"`autoscaling` was removed: keeping {counted(kept, 'replica')} until `replicas` is set"
    return Condition(kind, ConditionStatus.FALSE, Reason.NOT_AUTOSCALED, message)


def foreign_scaler(deployment: ModelDeployment, observed: Observed) -> str | None:
    """Name a HorizontalPodAutoscaler that competes with the operator, and the remedy; None if there is none.

    It may never scale the operator's Deployments, and the ModelDeployment only if the operator does not.
    """
    for scaler in observed.scalers:
        target = scaler["spec"]["scaleTargetRef"]
        if target["kind"] == "Deployment":
            if any(child == ("Deployment", target["name"]) for child in observed.children):
                return f"{_named(scaler)} scales Deployment '{target['name']}', which the operator manages: " + (
                    "delete it" if deployment.spec.scaled_by_us else _point_at(deployment)
                )
        elif deployment.spec.scaled_by_us:
            return (
                f"{_named(scaler)} scales this ModelDeployment, which the operator scales by its SLO: "
                "delete it, or set `autoscaling.mode` to External"
            )
    return None


def external_scaler(observed: Observed) -> str | None:
    """Name the HorizontalPodAutoscaler that writes `replicas` of the ModelDeployment itself, if there is one."""
    ours = (scaler for scaler in observed.scalers if scaler["spec"]["scaleTargetRef"]["kind"] == names.KIND)
    return next((_named(scaler) for scaler in ours), None)


def _point_at(deployment: ModelDeployment) -> str:
    return f"point it at {names.KIND} '{deployment.metadata.name}' and set `autoscaling.mode` to External"


def _named(scaler: Manifest) -> str:
    metadata = scaler["metadata"]
    made_by = next((f" of {each['kind']} '{each['name']}'" for each in metadata.get("ownerReferences") or ()), "")
    return f"HorizontalPodAutoscaler '{metadata['name']}'{made_by}"
