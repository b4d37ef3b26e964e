"""How many pods run: one number, for the revision that serves and for the one that is to follow it."""

from dataclasses import dataclass
from datetime import datetime

from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.revisions import KnownRevision
from tritonfleet.plan.scaling import asked_for, limits_of
from tritonfleet.plan.schedules import Limits
from tritonfleet.plan.world import Observed


@dataclass(frozen=True, slots=True)
class Size:
    """The number of pods wanted now, and what bounds it."""

    replicas: int
    limits: Limits | None
    """None if they cannot be told."""
    problem: InvalidSpec | None = None
    """Why the limits cannot be told."""


def size_of(deployment: ModelDeployment, observed: Observed, serving: KnownRevision | None, now: datetime) -> Size:
    """Return the number of pods; it is absolute, so that carrying it out changes nothing about it."""
    try:
        limits, problem = limits_of(deployment, now), None
    except InvalidSpec as error:
        limits, problem = None, error
    if deployment.spec.suspended:
        return Size(0, limits, problem)
    if not deployment.spec.scaled_by_us:
        return Size(deployment.spec.declared_replicas, limits, problem)
    wanted = observed.scaling.replicas if observed.scaling is not None else _held(observed, serving)
    if limits is None:
        return Size(wanted, limits, problem)
    return Size(max(limits.lowest, min(limits.highest, wanted)), limits, problem)


def _held(observed: Observed, serving: KnownRevision | None) -> int:
    """Return what there was before anybody could decide: what runs, else what was decided last, else nothing."""
    running = asked_for(serving.deployment) if serving is not None else 0
    decided = ((observed.body.get("status") or {}).get("autoscaling") or {}).get("desiredReplicas")
    return running or int(decided or 0)
