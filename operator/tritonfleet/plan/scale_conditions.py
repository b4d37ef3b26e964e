"""`SLOMet` and `ScalingActive`: whether the promise is kept, and whether anybody works on it."""

from collections.abc import Iterator

from tritonfleet.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.plan.autoscale import ScaleReason, Verdict
from tritonfleet.plan.foreign import external_scaler, foreign_scaler
from tritonfleet.plan.scale_report import ScaleReport, milliseconds, significant, slo_state
from tritonfleet.plan.scaling import has_slo
from tritonfleet.plan.world import Manifest, Observed

_BLIND = frozenset({ScaleReason.METRICS_STALE, ScaleReason.SERIES_MISSING})


def scale_conditions(deployment: ModelDeployment, observed: Observed, report: ScaleReport) -> Iterator[Condition]:
    """Yield both, as far as there is something to say; what is left out keeps what it said."""
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
        cause = "suspended" if deployment.spec.suspended else "replicas is 0"
        return Condition(ConditionType.SLO_MET, ConditionStatus.UNKNOWN, Reason.SUSPENDED, f"no pod runs: {cause}")
    verdict = observed.scaling
    if verdict is None or not report.fresh:
        return None
    reason = Reason(slo_state(verdict))
    if verdict.attainment.met is None and reason is not Reason.SLO_INFEASIBLE:
        return Condition(ConditionType.SLO_MET, ConditionStatus.UNKNOWN, reason, verdict.message)
    met = bool(verdict.attainment.met)
    return Condition(ConditionType.SLO_MET, ConditionStatus.of(met), reason, _against_target(deployment, verdict))


def _against_target(deployment: ModelDeployment, verdict: Verdict) -> str:
    slo, attainment = deployment.spec.slo, verdict.attainment
    parts = []
    if slo is not None and slo.latency is not None and attainment.percentile_seconds is not None:
        measured = milliseconds(attainment.percentile_seconds)
        parts.append(f"p{slo.latency.percentile:g} {measured}, target {slo.latency.target} ({attainment.source})")
    if attainment.within is not None:
        window = f"over {attainment.window_seconds:.0f} s"
        parts.append(f"{100 * attainment.within:.4g} % of the requests within the target {window}")
    if slo is not None and slo.throughput is not None and attainment.throughput is not None:
        parts.append(f"ready replicas carry {significant(attainment.throughput):g}/s of {slo.throughput:g}/s")
    if attainment.reason is ScaleReason.SLO_INFEASIBLE:
        parts.append("one idle replica already misses it: make the model faster or the target longer")
    return "; ".join(parts) or verdict.message


def _scaling_active(deployment: ModelDeployment, observed: Observed, document: Manifest) -> Condition | None:
    kind = ConditionType.SCALING_ACTIVE
    foreign = foreign_scaler(deployment, observed)
    if foreign is not None:
        return Condition(kind, ConditionStatus.FALSE, Reason.FOREIGN_SCALER, foreign)
    spec = deployment.spec
    if spec.suspended:
        return Condition(kind, ConditionStatus.FALSE, Reason.SUSPENDED, "no pod runs: suspended")
    if not spec.scales_by_slo:
        return _scaled_by_others(deployment, observed)
    if document.get("reason") not in set(ScaleReason):
        return None
    reason = ScaleReason(document["reason"])
    advice = " (advice only: `replicas` decides)" if not spec.scaled_by_us else ""
    return Condition(kind, ConditionStatus.of(reason not in _BLIND), Reason(reason), document["message"] + advice)


def _scaled_by_others(deployment: ModelDeployment, observed: Observed) -> Condition:
    kind, count = ConditionType.SCALING_ACTIVE, deployment.spec.declared_replicas
    other = external_scaler(observed)
    if other is not None:
        return Condition(kind, ConditionStatus.UNKNOWN, Reason.EXTERNAL_SCALER, f"{other} writes `replicas`")
    if deployment.spec.autoscaling is not None:
        message = "`replicas` is left to another scaler, and none is seen"
        return Condition(kind, ConditionStatus.UNKNOWN, Reason.EXTERNAL_SCALER, message)
    message = f"`autoscaling` is not set: `replicas` says {count}"
    return Condition(kind, ConditionStatus.FALSE, Reason.NOT_AUTOSCALED, message)
