"""The data that `tritonfleet rollout` shows about one rollout.

`Account` is read from the object, and from its pods if the user may list them. `waits_for()` and `would_change()` say
what the rollout is waiting for, and what advances it or rolls it back. The rest of this package is computed from an
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
from tritonfleet.api.quantities import counted, duration_seconds
from tritonfleet.api.rollout_status import Rejected, RolloutStatus, Weights
from tritonfleet.api.status import ConditionEntry, ModelDeploymentStatus, RevisionStatus
from tritonfleet.cli.arguments import format_duration
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
    OnTimeout.HOLD: "is held",
    OnTimeout.IN_PLACE: "continues in place, one stable pod at a time",
    OnTimeout.FAIL: "is rolled back",
}
_TOO_FEW: Final = {
    OnTooFewRequests.HOLD: "is held",
    OnTooFewRequests.PASS_ON_PROBE: "passes on golden requests alone",
    OnTooFewRequests.ROLLBACK: "is rolled back",
}


@dataclass(frozen=True, slots=True)
class Pods:
    """The pods of one revision."""

    existing: int = 0
    """Ending ones included."""
    ready: int = 0


@dataclass(frozen=True)
class Account:
    """A snapshot of one object."""

    body: Manifest
    deployment: ModelDeployment
    status: ModelDeploymentStatus
    pods: Mapping[str, Pods] | None
    """By revision hash; None if they may not be listed."""
    now: datetime
    state: State | None
    """The rollout's state; None without canary rollouts."""

    @classmethod
    def of(cls, body: Manifest, pods: Iterable[Manifest] | None, now: datetime) -> "Account":
        """Parse an object from the API server; raises InvalidSpec if this version cannot read it."""
        deployment = ModelDeployment.parse(body)
        try:
            status = ModelDeploymentStatus.model_validate(body.get("status") or {})
        except ValidationError as error:
            raise InvalidSpec(f"its status was written by another version of the operator: {error}") from error
        state = restore_state(body["status"]["rollout"]) if status.rollout is not None else None
        if state is None and status.rollout is not None:
            raise InvalidSpec("its status.rollout was written by another version of the operator")
        return cls(body, deployment, status, _pods_by_revision(pods) if pods is not None else None, now, state)

    @property
    def title(self) -> str:
        """Namespace and name."""
        return f"{self.deployment.metadata.namespace}/{self.deployment.metadata.name}"

    @property
    def rollout(self) -> RolloutStatus | None:
        """The rollout's status; None without canary rollouts."""
        return self.status.rollout

    @property
    def phase(self) -> Phase | None:
        """The rollout's phase."""
        return self.state.phase if self.state is not None else None

    @property
    def attempt(self) -> Attempt | None:
        """What the operator remembers of the rollout under way; None without one."""
        return self.state.attempt if self.state is not None else None

    @property
    def plan(self) -> Canary:
        """The settings of the running rollout, even if the spec has changed since."""
        return self.attempt.plan if self.attempt is not None else Canary()

    @property
    def weights(self) -> Weights:
        """The traffic split; all to stable if none is recorded."""
        found = self.rollout.weights if self.rollout is not None else None
        return found if found is not None else Weights(desired=0, applied=0)

    @property
    def observed(self) -> bool:
        """Whether the operator has processed the latest spec."""
        return self.status.observed_generation >= self.deployment.metadata.generation

    @property
    def is_serving(self) -> bool:
        """Whether any pod answers requests, as far as the status says."""
        entry = self.condition(ConditionType.AVAILABLE)
        return entry is None or entry.status != "False"

    @property
    def is_asked(self) -> bool:
        """Whether there is a request that the operator has not handled yet."""
        if self.state is None:
            return False
        asked = requests_of(self.body, self.deployment.spec.rollout)
        return any(request.id not in self.state.consumed for request in asked)

    @property
    def wanted(self) -> str | None:
        """Name of the spec's revision."""
        return self.status.revision.target if self.status.revision is not None else None

    @property
    def stable(self) -> str | None:
        """Name of the stable revision."""
        if self.rollout is not None:
            return self.rollout.stable
        return self.status.revision.stable if self.status.revision is not None else None

    @property
    def standing_by(self) -> str | None:
        """Name of the previous revision whose pods are still kept for an undo."""
        rollout = self.rollout
        if rollout is None or rollout.previous is None or not rollout.retained_until:
            return None
        return rollout.previous if datetime.fromisoformat(rollout.retained_until) > self.now else None

    def rejection(self, revision: str | None) -> Rejected | None:
        """Return the rejection of a revision; None if it was not rejected."""
        rejected = self.rollout.rejected if self.rollout is not None else ()
        return next((entry for entry in reversed(rejected) if entry.revision == revision), None)

    def revision(self, word: str | None) -> RevisionStatus | None:
        """Return the revision with this name, hash or number; None if there is none."""
        entries = {entry.name.rpartition("-")[2]: entry for entry in self.status.revisions}
        found = resolve_revision(word, {known: entry.number for known, entry in entries.items()}) if word else None
        return entries[found] if found is not None else None

    def called(self, name: str | None) -> str:
        """Return a revision's name and number: `shop-1a2b3c4d5e (7)`."""
        entry = self.revision(name)
        return f"{name} ({entry.number})" if entry is not None else str(name)

    def pods_of(self, name: str | None) -> Pods | None:
        """Return the pods of a revision; None if they cannot be listed."""
        if self.pods is None or name is None:
            return None
        return self.pods.get(name.rpartition("-")[2], Pods())

    def seconds_since(self, moment: str) -> float:
        """Return how long ago a time of the status is; negative for future times."""
        return (self.now - datetime.fromisoformat(moment)).total_seconds()

    def condition(self, kind: ConditionType) -> ConditionEntry | None:
        """Return a condition; None if it has never been set."""
        return next((entry for entry in self.status.conditions if entry.type is kind), None)

    def is_true(self, kind: ConditionType) -> bool:
        """Return whether a condition is true."""
        entry = self.condition(kind)
        return entry is not None and entry.status == "True"


def _pods_by_revision(pods: Iterable[Manifest]) -> Mapping[str, Pods]:
    found: dict[str, Pods] = {}
    for pod in pods:
        if has_ended(pod):
            continue
        revision = (pod["metadata"].get("labels") or {}).get(names.REVISION_LABEL, "")
        before = found.get(revision, Pods())
        found[revision] = Pods(before.existing + 1, before.ready + (exists(pod) and is_ready(pod)))
    return found


def waits_for(account: Account) -> str:
    """Return in one line what the rollout is waiting for."""
    rollout = account.rollout
    if rollout is None:
        return _without_steps(account)
    return _WAITS[Phase(rollout.phase)](account, rollout)


def would_change(account: Account) -> Iterator[str]:
    """Yield what advances the rollout or rolls it back, and when."""
    rollout = account.rollout
    if rollout is None:
        return
    yield from _CHANGES.get(Phase(rollout.phase), _nothing)(account, rollout)
    if account.standing_by is not None and rollout.retained_until:
        left = format_duration(max(1.0, -account.seconds_since(rollout.retained_until)))
        yield f"{account.called(account.standing_by)} is on standby for {left} more; until then an undo takes seconds"
    if rollout.override is not None:
        yield f"a new revision in the spec ends the override with {account.called(rollout.override)}"


def _without_steps(account: Account) -> str:
    if account.wanted is None or not account.observed:
        return "the operator to process the spec"
    if account.wanted == account.stable and not account.is_serving:
        return f"the first pods of {account.called(account.wanted)} to be ready"
    if account.wanted == account.stable:
        return "nothing: the spec's revision is serving"
    return f"pods of {account.called(account.wanted)} to be ready; then it gets all traffic"


def _pods(account: Account, rollout: RolloutStatus) -> str:
    pods = account.pods_of(rollout.canary)
    ready = f" ({pods.ready} ready)" if pods is not None else ""
    return f"{counted(rollout.canary_replicas or 0, 'canary pod')} to be ready{ready}"


def _analysis(account: Account, rollout: RolloutStatus) -> str:
    policy, windows = account.plan.analysis, int(rollout.analysis.get("windows") or 0)
    if account.attempt is not None and account.attempt.is_last_step:
        return f"the bake time of {policy.bake_time} at 100%, analyzed in windows of {policy.interval}"
    if windows == 0:
        return f"the first window of {policy.interval}, after a warm-up of {policy.warmup}"
    return f"window {windows + 1} of {max(policy.windows, windows + 1)}, {policy.interval} each"


def _approval(account: Account, rollout: RolloutStatus) -> str:
    pause = account.attempt.current_step.pause if account.attempt is not None else None
    if pause is None or pause.duration is None:
        return f"approval of step {rollout.step}"
    return f"the pause of {pause.duration} to end{_in(rollout.entered_at, pause.duration, account)}, or an approval"


def _room(account: Account, rollout: RolloutStatus) -> str:
    pods = account.pods_of(rollout.canary)
    missing = (rollout.canary_replicas or 0) - (pods.existing if pods is not None else 0)
    return f"room for {counted(max(1, missing), 'more canary pod')}"


def _serving(account: Account, rollout: RolloutStatus) -> str:
    if not account.observed:
        return "the operator to process the latest spec"
    if not account.is_serving:
        return f"pods of {account.called(rollout.stable)} to be ready"
    if account.wanted in (None, rollout.stable) or rollout.override is not None:
        return "nothing"
    return f"{account.called(account.wanted)} to be admitted"


def _all_ready(account: Account, rollout: RolloutStatus) -> str:
    pods = account.pods_of(rollout.canary or rollout.stable)
    return "the first pods to be ready" + (f" ({pods.ready} of {pods.existing})" if pods is not None else "")


_ACTION: Final = "manual action"
_WAITS: Final[Mapping[Phase, Callable[[Account, RolloutStatus], str]]] = {
    Phase.INITIALIZING: _all_ready,
    Phase.STABLE: _serving,
    Phase.ADMITTING: lambda _, __: "its steps and capacity mode to be determined",
    Phase.PROVISIONING: _pods,
    Phase.WAITING_FOR_CAPACITY: _room,
    Phase.VERIFYING: lambda _, __: "every canary pod to pass verification",
    Phase.SHIFTING: lambda account, _: f"weight {account.weights.desired}% to take effect",
    Phase.ANALYZING: _analysis,
    Phase.AWAITING_APPROVAL: _approval,
    Phase.HELD: lambda _, it: f"the cause to clear, or {_ACTION}" if it.reason in ENDS_WHEN else _ACTION,
    Phase.PROMOTING: lambda _, __: "all traffic to reach the new stable revision",
    Phase.ROLLING_BACK: lambda account, it: f"all traffic to return to {account.called(it.stable)}",
    Phase.ROLLED_BACK: lambda _, __: "a new revision in the spec, or a retry",
    Phase.STABLE_LOST: lambda account, it: f"pods of {account.called(it.stable)}, or {_ACTION}",
}


def _nothing(_: Account, __: RolloutStatus) -> Iterator[str]:
    yield from ()


def _deadline(account: Account, rollout: RolloutStatus) -> Iterator[str]:
    deadline = account.deployment.spec.rollout.progress_deadline
    yield f"rolls back if they are not ready{_in(rollout.entered_at, deadline, account)}"


def _timeout(account: Account, rollout: RolloutStatus) -> Iterator[str]:
    capacity: Capacity = account.plan.capacity
    when = _in(rollout.entered_at, capacity.wait_timeout, account)
    yield f"without room{when}, the rollout {_AFTER_WAITING[capacity.on_timeout]}"


def _verdicts(account: Account, rollout: RolloutStatus) -> Iterator[str]:
    policy = account.plan.analysis
    often = counted(policy.failure_threshold, "consecutive window") if policy.failure_threshold > 1 else "a window"
    failing = f"rolls back if a check fails in {often}"
    if account.attempt is not None and account.attempt.is_last_step:
        yield f"becomes stable at the end of the bake time; {failing}"
        return
    requests = counted(policy.min_requests, "request")
    yield f"passes after window {policy.windows} if no check fails and each revision had {requests}; {failing}"
    yield f"if still inconclusive after window {policy.max_windows}, it {_TOO_FEW[policy.on_too_few_requests]}"
    if rollout.metrics_lost_since:
        silent = format_duration(max(1.0, account.seconds_since(rollout.metrics_lost_since)))
        yield f"no metrics for {silent}; after {policy.metrics_timeout}: {policy.on_metrics_error}"


def _safety(_: Account, __: RolloutStatus) -> Iterator[str]:
    yield "rolls back if the canary fails meanwhile"


_CHANGES: Final[Mapping[Phase, Callable[[Account, RolloutStatus], Iterator[str]]]] = {
    Phase.PROVISIONING: _deadline,
    Phase.WAITING_FOR_CAPACITY: _timeout,
    Phase.ANALYZING: _verdicts,
    Phase.AWAITING_APPROVAL: _safety,
    Phase.HELD: _safety,
}


def _in(since: str, duration: str, account: Account) -> str:
    left = datetime.fromisoformat(since) + timedelta(seconds=duration_seconds(duration)) - account.now
    return f" in {format_duration(left.total_seconds())}" if left.total_seconds() >= 1 else " now"
