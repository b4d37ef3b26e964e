"""How many pods run: one number, for the revision that serves and for the one that is to follow it."""

from dataclasses import dataclass
from datetime import datetime

from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.revisions import KnownRevision
from tritonfleet.plan.scaling import held, limits_of
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
    running = serving.deployment if serving is not None else None
    wanted = observed.scaling.replicas if observed.scaling is not None else held(observed, running)
    if limits is None:
        return Size(wanted, limits, problem)
    return Size(max(limits.lowest, min(limits.highest, wanted)), limits, problem)
