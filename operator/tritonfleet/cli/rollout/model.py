"""One rollout as the command line sees it: the object, its pods, and what would change it.

`Account` is read from the object, and from its pods if the user may see them. `waits_for()` and `would_change()` say
what the rollout waits for and what would take it on or back. Everything else in this package is computed from an
`Account`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pydantic import ValidationError

from tritonfleet.api import names
from tritonfleet.api.canary import Canary, Capacity, OnTimeout, OnTooFewRequests
from tritonfleet.api.conditions import ConditionType
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.api.rollout_status import Rejected, RolloutStatus, Weights
from tritonfleet.api.status import ConditionEntry, ModelDeploymentStatus, RevisionStatus
from tritonfleet.cli.arguments import spoken
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.pods import exists, has_ended, is_ready
from tritonfleet.plan.rollout import (
    ENDS_WHEN,
    Attempt,
    Phase,
    State,
    requests_of,
    resolve_revision,
    restore_state,
)
from tritonfleet.plan.world import Manifest

_AFTER_WAITING: Final = {
    OnTimeout.HOLD: "it is held for a person",
    OnTimeout.IN_PLACE: "it goes on in place, one stable pod making room at a time",
    OnTimeout.FAIL: "it is rolled back",
}
_TOO_FEW: Final = {
    OnTooFewRequests.HOLD: "held for a person",
    OnTooFewRequests.PASS_ON_PROBE: "passed on golden requests alone",
    OnTooFewRequests.ROLLBACK: "rolled back",
}


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
    def attempt(self) -> Attempt | None:
        """What the operator remembers of the rollout under way; None without one."""
        return self.state.attempt if self.state is not None else None

    @property
    def plan(self) -> Canary:
        """What the rollout goes by, whatever the spec has become since."""
        return self.attempt.plan if self.attempt is not None else Canary()

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


def waits_for(account: Account) -> str:
    """Return in one line what has to happen next."""
    rollout = account.rollout
    if rollout is None:
        return _without_steps(account)
    return _WAITS[Phase(rollout.phase)](account, rollout)


def would_change(account: Account) -> Iterator[str]:
    """Yield what would take the rollout on or back from where it is, and when."""
    rollout = account.rollout
    if rollout is None:
        return
    yield from _CHANGES.get(Phase(rollout.phase), _nothing)(account, rollout)
    if account.standing_by is not None and rollout.retained_until:
        left = spoken(max(1.0, -account.seconds_since(rollout.retained_until)))
        yield f"{account.called(account.standing_by)} stands by for {left} more: until then an undo takes seconds"
    if rollout.override is not None:
        yield f"another revision in the spec ends the emergency rollback to {account.called(rollout.override)}"


def _without_steps(account: Account) -> str:
    if account.wanted is None or not account.observed:
        return "the operator to look at the spec"
    if account.wanted == account.stable:
        return "nothing: the wanted revision serves"
    return f"pods of {account.called(account.wanted)}: all requests go to it when they are ready"


def _pods(account: Account, rollout: RolloutStatus) -> str:
    pods = account.pods_of(rollout.canary)
    ready = f", {pods.ready} are" if pods is not None else ""
    return f"{rollout.canary_replicas or 0} of the canary's pods to be ready{ready}"


def _analysis(account: Account, rollout: RolloutStatus) -> str:
    policy, windows = account.plan.analysis, int(rollout.analysis.get("windows") or 0)
    if account.attempt is not None and account.attempt.is_last_step:
        return f"the bake time of {policy.bake_time} at 100 %, watched in windows of {policy.interval}"
    if windows == 0:
        return f"the first window of {policy.interval}, after {policy.warmup} of warm-up"
    return f"window {windows + 1} of {max(policy.windows, windows + 1)}, {policy.interval} each"


def _approval(account: Account, rollout: RolloutStatus) -> str:
    pause = account.attempt.current_step.pause if account.attempt is not None else None
    if pause is None or pause.duration is None:
        return f"a person who approves step {rollout.step}"
    return f"the pause of {pause.duration} to end{_in(rollout.entered_at, pause.duration, account)}, or an approval"


def _room(account: Account, rollout: RolloutStatus) -> str:
    pods = account.pods_of(rollout.canary)
    missing = (rollout.canary_replicas or 0) - (pods.existing if pods is not None else 0)
    return f"room for {max(1, missing)} more of the canary's pods"


def _serving(account: Account, rollout: RolloutStatus) -> str:
    if not account.observed:
        return "the operator to look at the newest spec"
    if account.wanted in (None, rollout.stable) or rollout.override is not None:
        return "nothing"
    return f"{account.called(account.wanted)} to be admitted"


def _all_ready(account: Account, rollout: RolloutStatus) -> str:
    pods = account.pods_of(rollout.canary or rollout.stable)
    return "the first pods to be ready" + (f": {pods.ready} of {pods.existing} are" if pods is not None else "")


_WAITS: Final[Mapping[Phase, Callable[[Account, RolloutStatus], str]]] = {
    Phase.INITIALIZING: _all_ready,
    Phase.STABLE: _serving,
    Phase.ADMITTING: lambda _, __: "its plan and its capacity mode to be fixed",
    Phase.PROVISIONING: _pods,
    Phase.WAITING_FOR_CAPACITY: _room,
    Phase.VERIFYING: lambda _, __: "every canary pod to answer for its contract and the golden requests",
    Phase.SHIFTING: lambda account, _: f"{account.weights.desired} % to be in force, {account.weights.applied} % is",
    Phase.ANALYZING: _analysis,
    Phase.AWAITING_APPROVAL: _approval,
    Phase.HELD: lambda _, it: "the cause to pass, or a person" if it.reason in ENDS_WHEN else "a person",
    Phase.PROMOTING: lambda _, __: "clients to reach the new stable revision",
    Phase.ROLLING_BACK: lambda account, it: f"all traffic to be back at {account.called(it.stable)}",
    Phase.ROLLED_BACK: lambda _, __: "another revision in the spec, or a retry",
    Phase.STABLE_LOST: lambda account, it: f"pods of {account.called(it.stable)}, or a person",
}


def _nothing(_: Account, __: RolloutStatus) -> Iterator[str]:
    yield from ()


def _deadline(account: Account, rollout: RolloutStatus) -> Iterator[str]:
    deadline = account.deployment.spec.rollout.progress_deadline
    yield f"rolled back if they are not ready{_in(rollout.entered_at, deadline, account)}"


def _timeout(account: Account, rollout: RolloutStatus) -> Iterator[str]:
    capacity: Capacity = account.plan.capacity
    when = _in(rollout.entered_at, capacity.wait_timeout, account)
    yield f"without room{when}, {_AFTER_WAITING[capacity.on_timeout]}"


def _verdicts(account: Account, rollout: RolloutStatus) -> Iterator[str]:
    policy = account.plan.analysis
    again = f"in {policy.failure_threshold} windows running" if policy.failure_threshold > 1 else "in one window"
    if account.attempt is not None and account.attempt.is_last_step:
        yield f"becomes stable when the bake time is over and no limit is broken; one broken {again} takes it back"
        return
    yield (
        f"passes after window {policy.windows} if no check fails and each revision had {policy.min_requests:,}"
        f" requests; a check that fails {again} takes it back"
    )
    yield f"after window {policy.max_windows}, what is still open is {_TOO_FEW[policy.on_too_few_requests]}"
    if rollout.metrics_lost_since:
        silent = spoken(max(1.0, account.seconds_since(rollout.metrics_lost_since)))
        yield f"metrics have stayed away for {silent}; after {policy.metrics_timeout}: {policy.on_metrics_error}"


def _safety(_: Account, __: RolloutStatus) -> Iterator[str]:
    yield "a canary that breaks meanwhile is taken back all the same"


_CHANGES: Final[Mapping[Phase, Callable[[Account, RolloutStatus], Iterator[str]]]] = {
    Phase.PROVISIONING: _deadline,
    Phase.WAITING_FOR_CAPACITY: _timeout,
    Phase.ANALYZING: _verdicts,
    Phase.AWAITING_APPROVAL: _safety,
    Phase.HELD: _safety,
}


def _in(since: str, duration: str, account: Account) -> str:
    left = datetime.fromisoformat(since) + timedelta(seconds=duration_seconds(duration)) - account.now
    return f" in {spoken(left.total_seconds())}" if left.total_seconds() >= 1 else " now"
