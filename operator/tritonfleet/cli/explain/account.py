"""Everything that is said about one ModelDeployment, read from the object itself: no other source is asked."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from tritonfleet.api.autoscaling import ScalingMode
from tritonfleet.api.conditions import ConditionType
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.status import FIELD_OF_PERCENTILE, AutoscalingStatus, ConditionEntry, ModelDeploymentStatus
from tritonfleet.cli.explain.outlook import Outlook, outlook
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.world import Manifest


@dataclass(frozen=True)
class Account:
    """One look at one object."""

    deployment: ModelDeployment
    status: ModelDeploymentStatus
    outlook: Outlook | None
    now: datetime

    @classmethod
    def of(cls, body: Manifest, now: datetime) -> "Account":
        """Read an object as the API server gave it; raises InvalidSpec where this version cannot read it."""
        deployment = ModelDeployment.parse(body)
        try:
            status = ModelDeploymentStatus.model_validate(body.get("status") or {})
        except ValidationError as error:
            raise InvalidSpec(f"its status was written by another version of the operator: {error}") from error
        return cls(deployment, status, outlook(deployment, status, now), now)

    @property
    def scaling(self) -> AutoscalingStatus:
        """What the autoscaler says; empty if it says nothing."""
        return self.status.autoscaling or AutoscalingStatus()

    @property
    def running(self) -> int:
        """Pods that the serving revision has."""
        return self.status.replicas or 0

    @property
    def observed(self) -> bool:
        """Whether the operator has looked at the spec as it is now."""
        return self.status.observed_generation >= self.deployment.metadata.generation

    @property
    def external(self) -> bool:
        """Whether somebody else decides."""
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
        """Return a condition, None while it has never been set."""
        return next((entry for entry in self.status.conditions if entry.type is kind), None)

    def age_seconds(self, moment: str | None) -> float | None:
        """Return how long ago a time of the status is."""
        return None if moment is None else (self.now - datetime.fromisoformat(moment)).total_seconds()


def document(account: Account) -> dict[str, Any]:
    """Return the account as plain data: `-o json`."""
    deployment, found = account.deployment, account.outlook
    scaling = account.scaling.model_dump(by_alias=True, exclude_none=True, mode="json", exclude={"memory"})
    return {
        "name": deployment.metadata.name,
        "namespace": deployment.metadata.namespace,
        "replicas": account.running,
        "readyReplicas": account.status.ready_replicas or 0,
        "suspended": deployment.spec.suspended,
        "advisory": deployment.spec.scales_by_slo and not deployment.spec.scaled_by_us,
        "autoscaling": scaling,
        "outlook": None
        if found is None
        else {
            "moreAbove": found.more_above,
            "fewerBelow": found.fewer_below,
            "holdSeconds": found.hold_seconds,
            "alphaSeconds": found.alpha_seconds,
            "betaSeconds": found.beta_seconds,
        },
        "conditions": [
            entry.model_dump(by_alias=True, exclude_none=True, mode="json") for entry in account.status.conditions
        ],
    }
