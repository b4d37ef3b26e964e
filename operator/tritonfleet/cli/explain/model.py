"""The data that `tritonfleet explain` shows about one ModelDeployment.

`Account` is read from the object's spec and status alone. `outlook()` uses the autoscaler's own functions to find the
rates at which it would add or remove a replica. `document()` is `-o json`; `command.py` prints the rest.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from tritonfleet.api.autoscaling import ScalingMode
from tritonfleet.api.conditions import ConditionType
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.status import FIELD_OF_PERCENTILE, AutoscalingStatus, ConditionEntry, ModelDeploymentStatus
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.autoscale import Capacity, Memory, Policy, Reading, capacity_of, demand_of, startup_of
from tritonfleet.plan.scaling import autoscaling_policy, loaded_model
from tritonfleet.plan.world import Manifest

SEARCH_STEPS: Final = 40


@dataclass(frozen=True, slots=True)
class Outlook:
    """Steady rates, in requests per second, that would change the number of replicas."""

    more_above: float | None
    """A replica is added above it; None at the maximum."""
    fewer_below: float | None
    """A replica is removed below it; None at the minimum."""
    stabilization_seconds: float
    """For how long it must stay below."""
    headroom: int
    """Replicas beyond what the present rate needs."""
    growth: float
    """The rise of the rate, as a factor, that they are for."""
    horizon_seconds: float
    """Within which it may come: until a pod that is started now is ready."""
    alpha_seconds: float | None
    """A batch of b takes alpha + beta b; None before it is learned."""
    beta_seconds: float | None


def outlook(
    deployment: ModelDeployment, status: ModelDeploymentStatus, loaded: Mapping[str, Any], now: datetime
) -> Outlook | None:
    """Return the rates at which the autoscaler would decide otherwise; None if unknown."""
    scaling = status.autoscaling
    if scaling is None or scaling.desired_replicas is None:
        return None
    try:
        policy = autoscaling_policy(deployment, now, loaded)
    except InvalidSpec:
        return None
    memory = Memory.restore(scaling.memory, now.timestamp())
    capacity = capacity_of(policy, memory.fits, _serving(deployment, status))
    if capacity is None or capacity.rate(1) <= 0:
        return None
    return _at(policy, memory, capacity, scaling, scaling.desired_replicas)


def _serving(deployment: ModelDeployment, status: ModelDeploymentStatus) -> str | None:
    stable = status.revision.stable if status.revision is not None else None
    return stable.removeprefix(f"{deployment.metadata.name}-") if stable is not None else None


def _at(policy: Policy, memory: Memory, capacity: Capacity, scaling: AutoscalingStatus, replicas: int) -> Outlook:
    horizon = startup_of(memory.readiness, (), 0.0).horizon_seconds

    def enough(count: int, rate: float) -> bool:
        reading, usual = _steady(rate, scaling), memory.bursts.usual
        demand = demand_of(policy, memory.growth, usual, reading, memory.noise.dispersion, horizon)
        return capacity.replicas_for(demand.total) <= count

    ceiling = 2 * capacity.rate(replicas + 1)
    server = capacity.server
    rate, usual = scaling.observed_rate or 0.0, memory.bursts.usual
    return Outlook(
        more_above=_largest(ceiling, lambda rate: enough(replicas, rate)) if replicas < policy.max_replicas else None,
        fewer_below=_largest(ceiling, lambda rate: enough(replicas - 1, rate))
        if replicas > policy.min_replicas
        else None,
        stabilization_seconds=memory.stabilization.ripple_seconds(policy.stabilization_seconds, memory.clock),
        headroom=max(0, replicas - max(policy.min_replicas, capacity.replicas_for(rate))),
        growth=memory.growth.ahead(rate, usual) / rate if rate > 0 else 1.0,
        horizon_seconds=horizon,
        alpha_seconds=server.alpha if server is not None else None,
        beta_seconds=server.beta if server is not None else None,
    )


def _steady(rate: float, scaling: AutoscalingStatus) -> Reading:
    """Return the reading of a constant rate, with every pod scraped and nothing queued."""
    ready = scaling.desired_replicas or 0
    return Reading(
        ready=ready,
        fresh=ready,
        flat=0,
        silent=0,
        blind_seconds=0.0,
        age_seconds=0.0,
        now=rate,
        fast=rate,
        middle=rate,
        slow=rate,
        pending=0.0,
        work={},
        enough=True,
    )


def _largest(ceiling: float, holds: Callable[[float], bool]) -> float:
    low, high = 0.0, ceiling
    for _ in range(SEARCH_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


@dataclass(frozen=True)
class Account:
    """A snapshot of one object."""

    deployment: ModelDeployment
    status: ModelDeploymentStatus
    outlook: Outlook | None
    now: datetime

    @classmethod
    def of(cls, body: Manifest, now: datetime) -> "Account":
        """Parse an object from the API server; raises InvalidSpec if this version cannot read it."""
        deployment = ModelDeployment.parse(body)
        try:
            status = ModelDeploymentStatus.model_validate(body.get("status") or {})
        except ValidationError as error:
            raise InvalidSpec(f"its status was written by another version of the operator: {error}") from error
        return cls(deployment, status, outlook(deployment, status, loaded_model(body), now), now)

    @property
    def scaling(self) -> AutoscalingStatus:
        """The status of autoscaling; empty if there is none."""
        return self.status.autoscaling or AutoscalingStatus()

    @property
    def running(self) -> int:
        """Pods of the serving revision."""
        return self.status.replicas or 0

    @property
    def observed(self) -> bool:
        """Whether the operator has processed the latest spec."""
        return self.status.observed_generation >= self.deployment.metadata.generation

    @property
    def external(self) -> bool:
        """Whether another scaler decides."""
        autoscaling = self.deployment.spec.autoscaling
        return autoscaling is not None and autoscaling.mode is ScalingMode.EXTERNAL

    @property
    def latency(self) -> str | None:
        """The measured latency of the SLO's percentile."""
        slo = self.deployment.spec.slo
        if slo is None or slo.latency is None:
            return None
        found: str | None = self.scaling.model_dump(by_alias=True)[FIELD_OF_PERCENTILE[slo.latency.percentile]]
        return found

    def condition(self, kind: ConditionType) -> ConditionEntry | None:
        """Return a condition; None if it has never been set."""
        return next((entry for entry in self.status.conditions if entry.type is kind), None)

    def age_seconds(self, moment: str | None) -> float | None:
        """Return how long ago a time of the status is."""
        return None if moment is None else (self.now - datetime.fromisoformat(moment)).total_seconds()


def document(account: Account) -> dict[str, Any]:
    """Return the account for `-o json`."""
    deployment, found = account.deployment, account.outlook
    scaling = account.scaling.model_dump(by_alias=True, exclude_none=True, mode="json", exclude={"memory"})
    return {
        "name": deployment.metadata.name,
        "namespace": deployment.metadata.namespace,
        "replicas": account.running,
        "readyReplicas": account.status.ready_replicas or 0,
        "suspended": deployment.spec.suspend,
        "advisory": deployment.spec.scales_by_slo and not deployment.spec.scaled_by_us,
        "autoscaling": scaling,
        "outlook": None
        if found is None
        else {
            "moreAbove": found.more_above,
            "fewerBelow": found.fewer_below,
            "stabilizationSeconds": found.stabilization_seconds,
            "headroomReplicas": found.headroom,
            "alphaSeconds": found.alpha_seconds,
            "betaSeconds": found.beta_seconds,
        },
        "conditions": [
            entry.model_dump(by_alias=True, exclude_none=True, mode="json") for entry in account.status.conditions
        ],
    }
