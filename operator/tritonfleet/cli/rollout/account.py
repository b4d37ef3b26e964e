"""Everything that is said about one rollout: the object as it is, and its pods if they may be seen."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from tritonfleet.api import names
from tritonfleet.api.canary import Canary
from tritonfleet.api.conditions import ConditionType
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.rollout_status import Rejected, RolloutStatus, Weights
from tritonfleet.api.status import ConditionEntry, ModelDeploymentStatus, RevisionStatus
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.pods import exists, has_ended, is_ready
from tritonfleet.plan.rollout import Phase, State, plan_of, requests_of, resolve_revision, restore_state
from tritonfleet.plan.world import Manifest


@dataclass(frozen=True, slots=True)
class Pods:
    """The pods of one revision."""

    existing: int = 0
    """Ending ones included."""
    ready: int = 0


@dataclass(frozen=True)
class Account:
    """One look at one object."""

    body: Manifest
    deployment: ModelDeployment
    status: ModelDeploymentStatus
    pods: Mapping[str, Pods] | None
    """By revision hash; None if they may not be listed."""
    now: datetime
    state: State | None
    """What the operator goes on from; None where revisions replace each other without steps."""

    @classmethod
    def of(cls, body: Manifest, pods: Iterable[Manifest] | None, now: datetime) -> "Account":
        """Read an object as the API server gave it; raises InvalidSpec where this version cannot read it."""
        deployment = ModelDeployment.parse(body)
        try:
            status = ModelDeploymentStatus.model_validate(body.get("status") or {})
        except ValidationError as error:
            raise InvalidSpec(f"its status was written by another version of the operator: {error}") from error
        state = restore_state(body["status"]["rollout"]) if status.rollout is not None else None
        if state is None and status.rollout is not None:
            raise InvalidSpec("its status.rollout was written by another version of the operator")
        return cls(body, deployment, status, _counted(pods) if pods is not None else None, now, state)

    @property
    def title(self) -> str:
        """Namespace and name."""
        return f"{self.deployment.metadata.namespace}/{self.deployment.metadata.name}"

    @property
    def rollout(self) -> RolloutStatus | None:
        """Where the rollout is; None where revisions replace each other without steps."""
        return self.status.rollout

    @property
    def phase(self) -> Phase | None:
        """The same in one word."""
        return self.state.phase if self.state is not None else None

    @property
    def plan(self) -> Canary:
        """What the rollout goes by, whatever the spec has become since."""
        return plan_of(self.state.plan if self.state is not None else {})

    @property
    def weights(self) -> Weights:
        """How the traffic is divided; all of it is stable's where nothing is said."""
        found = self.rollout.weights if self.rollout is not None else None
        return found if found is not None else Weights(desired=0, applied=0)

    @property
    def observed(self) -> bool:
        """Whether the operator has looked at the spec as it is now."""
        return self.status.observed_generation >= self.deployment.metadata.generation

    @property
    def is_asked(self) -> bool:
        """Whether somebody has asked for something that the operator has not answered yet."""
        if self.state is None:
            return False
        asked = requests_of(self.body, self.deployment.spec.rollout)
        return any(request.id not in self.state.consumed for request in asked)

    @property
    def wanted(self) -> str | None:
        """Name of the revision that the spec asks for."""
        return self.status.revision.target if self.status.revision is not None else None

    @property
    def stable(self) -> str | None:
        """Name of the revision that serves, and goes on serving whatever becomes of a canary."""
        if self.rollout is not None:
            return self.rollout.stable
        return self.status.revision.stable if self.status.revision is not None else None

    @property
    def standing_by(self) -> str | None:
        """Name of the revision whose pods wait for an undo."""
        rollout = self.rollout
        if rollout is None or rollout.previous is None or not rollout.retained_until:
            return None
        return rollout.previous if datetime.fromisoformat(rollout.retained_until) > self.now else None

    def rejection(self, revision: str | None) -> Rejected | None:
        """Return why a revision is not tried by itself; None if it may be."""
        rejected = self.rollout.rejected if self.rollout is not None else ()
        return next((entry for entry in reversed(rejected) if entry.revision == revision), None)

    def revision(self, word: str | None) -> RevisionStatus | None:
        """Return the revision that a name, hash or number means; None if there is none."""
        entries = {entry.name.rpartition("-")[2]: entry for entry in self.status.revisions}
        found = resolve_revision(word, {known: entry.number for known, entry in entries.items()}) if word else None
        return entries[found] if found is not None else None

    def called(self, name: str | None) -> str:
        """Return a revision's name and number as people say them: `shop-1a2b3c4d5e (7)`."""
        entry = self.revision(name)
        return f"{name} ({entry.number})" if entry is not None else str(name)

    def pods_of(self, name: str | None) -> Pods | None:
        """Return the pods of a revision; None if they may not be seen."""
        if self.pods is None or name is None:
            return None
        return self.pods.get(name.rpartition("-")[2], Pods())

    def seconds_since(self, moment: str) -> float:
        """Return how long ago a time of the status is; below 0 for one to come."""
        return (self.now - datetime.fromisoformat(moment)).total_seconds()

    def condition(self, kind: ConditionType) -> ConditionEntry | None:
        """Return a condition, None while it has never been set."""
        return next((entry for entry in self.status.conditions if entry.type is kind), None)

    def is_true(self, kind: ConditionType) -> bool:
        """Tell whether a condition holds."""
        entry = self.condition(kind)
        return entry is not None and entry.status == "True"


def _counted(pods: Iterable[Manifest]) -> Mapping[str, Pods]:
    counted: dict[str, Pods] = {}
    for pod in pods:
        if has_ended(pod):
            continue
        revision = (pod["metadata"].get("labels") or {}).get(names.REVISION_LABEL, "")
        before = counted.get(revision, Pods())
        counted[revision] = Pods(before.existing + 1, before.ready + (exists(pod) and is_ready(pod)))
    return counted
