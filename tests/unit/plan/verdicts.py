"""A verdict of the law of scaling, for tests to vary."""

from dataclasses import replace
from typing import Any

from tritonfleet.plan.autoscale import Attainment, Memory, ScaleReason, Verdict

MET = Attainment(
    met=True,
    reason=None,
    percentile_seconds=0.0412,
    source="Triton",
    within=0.9953,
    throughput=120.0,
    window_seconds=300.0,
    burn_1h=0.4,
    burn_6h=0.2,
)
VERDICT = Verdict(
    replicas=4,
    wanted=4,
    reason=ScaleReason.DEMAND,
    explain=lambda: "118 req/s needs 4 replicas",
    fresh=True,
    rate=118.274,
    capacity_per_replica=32.3991,
    forecast=None,
    ready_seconds=61.77,
    metrics_age_seconds=4.2,
    attainment=MET,
    memory=Memory(),
)
SLO = {"latency": {"target": "50ms"}}
SCALED = {"slo": SLO, "autoscaling": {"minReplicas": 2, "maxReplicas": 10}}


def says(replicas: int, reason: ScaleReason = ScaleReason.DEMAND, **changes: Any) -> Verdict:
    """Return a verdict for so many replicas."""
    return replace(VERDICT, replicas=replicas, wanted=replicas, reason=reason, **changes)
