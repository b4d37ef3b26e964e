"""What a rollout waits for, and what would take it on or back."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from tritonfleet.api.canary import Capacity, OnTimeout, OnTooFewRequests
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.api.rollout_status import RolloutStatus
from tritonfleet.cli.amounts import spoken
from tritonfleet.cli.rollout.account import Account
from tritonfleet.plan.rollout import ENDS_WHEN, Phase, is_last, step_of

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
    policy, looks = account.plan.analysis, int(rollout.analysis.get("looks") or 0)
    if account.state is not None and is_last(account.state):
        return f"the bake time of {policy.bake} at 100 %, watched in windows of {policy.interval}"
    if looks == 0:
        return f"the first window of {policy.interval}, after {policy.warmup} of warm-up"
    return f"look {looks + 1} of {max(policy.looks, looks + 1)}, at the end of a window of {policy.interval}"


def _approval(account: Account, rollout: RolloutStatus) -> str:
    pause = step_of(account.state).pause if account.state is not None else None
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
    again = f"in {policy.confirmations} looks running" if policy.confirmations > 1 else "in one look"
    if account.state is not None and is_last(account.state):
        yield f"becomes stable when the bake time is over and no limit is broken; one broken {again} takes it back"
        return
    yield (
        f"passes after look {policy.looks} if no check fails and each revision had {policy.min_requests:,} requests;"
        f" a check that fails {again} takes it back"
    )
    yield f"after look {policy.max_looks}, what is still open is {_TOO_FEW[policy.on_too_few_requests]}"
    if rollout.blind_since:
        silent = spoken(max(1.0, account.seconds_since(rollout.blind_since)))
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
