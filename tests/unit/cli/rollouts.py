"""ModelDeployments in the midst of a rollout, their status as the operator writes it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.unit.plan.rollout.stage import but
from tritonfleet.api.canary import Canary, CapacityMode
from tritonfleet.cli.rollout.model import Account
from tritonfleet.plan.rollout import Attempt, Phase, Rejection, Standby, State, rollout_document
from tritonfleet.plan.world import Manifest

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
BEFORE, STABLE, CANARY = "0123456789", "aaaaaaaaaa", "1a2b3c4d5e"
PLAN = {"steps": [{"weight": 10}, {"weight": 50, "pause": {}}]}
IDLE = State(Phase.STABLE, NOW - timedelta(hours=1), stable=STABLE, standby=Standby(BEFORE))
REJECTED = (
    Rejection(CANARY, "Worse", "error rate worse than stable: canary 5.0% (20/400)", NOW - timedelta(minutes=2)),
)


def under_way(phase: Phase, **changes: Any) -> State:
    """A canary at its second step, with half of the traffic."""
    attempt = Attempt(
        canary=CANARY,
        plan=Canary.model_validate(PLAN),
        mode=CapacityMode.SURGE,
        surge=8,
        canary_replicas=4,
        step=1,
        weight=50,
        applied_weight=50,
    )
    state = State(
        phase, NOW - timedelta(minutes=3), "AnalysisRunning", "window 4 of 10", STABLE, replicas=8, attempt=attempt
    )
    if not (state.traits.under_way or phase is Phase.INITIALIZING):
        state = replace(state, attempt=None)
    return but(state, **changes)


def body(state: State | None, *, wanted: str = CANARY, **spec: Any) -> Manifest:
    """The object as the API server has it."""
    revisions = [
        {"name": f"shop-{CANARY}", "number": 7, "created": "2026-11-21T11:55:00Z", "outcome": "Provisioning"},
        {"name": f"shop-{STABLE}", "number": 6, "image": "triton:1", "modelDigest": f"sha256:{'a' * 64}"},
        {"name": f"shop-{BEFORE}", "number": 5, "outcome": "Retired"},
    ]
    status: Manifest = {
        "observedGeneration": 3,
        "revision": {"stable": f"shop-{STABLE}", "target": f"shop-{wanted}"},
        "revisions": revisions,
    }
    if state is not None:
        status["rollout"] = rollout_document(state, "shop")
    return {
        "apiVersion": "tritonfleet.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "shop", "namespace": "prod", "generation": 3, "uid": "u-1", "resourceVersion": "9"},
        "spec": {"model": {"uri": "s3://models/shop/7"}, "rollout": {"canary": PLAN}} | spec,
        "status": status,
    }


def account(state: State | None, pods: Sequence[Manifest] | None = (), *, at: datetime = NOW, **how: Any) -> Account:
    """One look at it."""
    return Account.of(body(state, **how), pods, at)


def pods(revision: str, ready: int, unready: int = 0) -> list[Manifest]:
    """Pods of one revision."""
    return [
        {
            "metadata": {"name": f"{revision}-{index}", "labels": {"tritonfleet.dev/revision": revision}},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True" if index < ready else "False"}],
            },
        }
        for index in range(ready + unready)
    ]
