"""Rollouts: one revision of a ModelDeployment replaces another, step by step.

`plan/reconcile.py` calls it on every pass. `plan_rollout()` restores the `State` from `status.rollout`, gathers
`RolloutInputs` from the observed cluster, and returns the pods and the traffic that the state asks for
(`DesiredRollout`). Once the cluster has been asked for that, `advance()` returns the next `State`: at most one
transition. `runtime/canary_monitor.py` measures what `measurement_of()` returns and passes it on as `Evidence`;
`plan/status.py` writes the state and its conditions; `cli/rollout` reads them. There is no clock, no I/O and no
randomness in it.

docs/explanation/rollouts.md describes the phases and the rules. `analysis` decides whether a canary is worse than
stable, `verification` whether it answers as expected before it gets traffic; both are imported by their own names.
Import everything else from here and not from the modules inside.
"""

from tritonfleet.plan.pods import RevisionPods
from tritonfleet.plan.rollout.commands import parse_request, refusal, requests_of, resolve_revision
from tritonfleet.plan.rollout.context import RolloutContext, StepResult
from tritonfleet.plan.rollout.holds import ENDS_WHEN
from tritonfleet.plan.rollout.inputs import Request, RolloutInputs, Verb, pod_that_needs_room
from tritonfleet.plan.rollout.measurement import (
    GATEWAY_BUCKETS,
    GATEWAY_CLUSTER,
    GATEWAY_GRPC,
    GATEWAY_RESETS,
    GATEWAY_STATUSES,
    GatewayCounters,
    GatewayCounts,
    GatewayFailures,
    GatewayLabels,
    MeasurementKey,
    MeasurementSpec,
    count_gateway,
    measurement_of,
    merge_gateway_counts,
    revisions_by_cluster,
)
from tritonfleet.plan.rollout.planner import (
    DesiredRollout,
    RolloutPlan,
    advance,
    desired_rollout,
    is_planned,
    plan_rollout,
    record_conflicts,
    written_state,
)
from tritonfleet.plan.rollout.promql import confine
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.state import (
    EPOCH,
    TRAITS,
    TRANSITIONS,
    Attempt,
    Phase,
    Rejection,
    Standby,
    State,
    TransitionRecord,
    traits_of,
)
from tritonfleet.plan.rollout.status import (
    ROLLOUT_REASONS,
    progress_conditions,
    restore_state,
    rollout_document,
    rollout_healthy,
)

__all__ = [
    "ENDS_WHEN",
    "EPOCH",
    "GATEWAY_BUCKETS",
    "GATEWAY_CLUSTER",
    "GATEWAY_GRPC",
    "GATEWAY_RESETS",
    "GATEWAY_STATUSES",
    "ROLLOUT_REASONS",
    "TRAITS",
    "TRANSITIONS",
    "Attempt",
    "DesiredRollout",
    "GatewayCounters",
    "GatewayCounts",
    "GatewayFailures",
    "GatewayLabels",
    "MeasurementKey",
    "MeasurementSpec",
    "Phase",
    "Rejection",
    "Request",
    "RevisionPods",
    "RolloutContext",
    "RolloutInputs",
    "RolloutPlan",
    "RolloutReason",
    "Standby",
    "State",
    "StepResult",
    "TransitionRecord",
    "Verb",
    "advance",
    "confine",
    "count_gateway",
    "desired_rollout",
    "is_planned",
    "measurement_of",
    "merge_gateway_counts",
    "parse_request",
    "plan_rollout",
    "pod_that_needs_room",
    "progress_conditions",
    "record_conflicts",
    "refusal",
    "requests_of",
    "resolve_revision",
    "restore_state",
    "revisions_by_cluster",
    "rollout_document",
    "rollout_healthy",
    "traits_of",
    "written_state",
]
