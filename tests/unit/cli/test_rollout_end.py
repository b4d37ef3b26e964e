"""How `tritonfleet rollout status --wait` ends, what the history lists, and what a diff shows."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.cli.rollouts import BEFORE, CANARY, IDLE, NOW, REJECTED, STABLE, account, body, under_way
from tritonfleet.api import names
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.cli.rollout import output
from tritonfleet.cli.rollout.command import PROMOTED, ROLLED_BACK, TOO_LATE, ending, wait
from tritonfleet.cli.rollout.model import Account, waits_for
from tritonfleet.cli.rollout.output import difference, found, plain
from tritonfleet.cli.terminal import UsageError
from tritonfleet.errors import Transient
from tritonfleet.plan.objects import build_revision, controller_revision, readable_spec
from tritonfleet.plan.rollout import Attempt, Phase, Standby, State
from tritonfleet.plan.world import Defaults, Manifest

SERVES = account(IDLE, wanted=STABLE)
REFUSED = account(State(Phase.ROLLED_BACK, NOW, "Worse", "error rate 5.0%", stable=STABLE, rejected=REJECTED))
DEFAULTS = Defaults("nvcr.io/nvidia/tritonserver:26.10-py3", allow_unsafe_image=True, fetch_image="fetch:1")


def condition(kind: str, reason: str) -> dict[str, Any]:
    return {
        "type": kind,
        "status": "True",
        "observedGeneration": 3,
        "lastTransitionTime": "2026-11-21T12:00:00Z",
        "reason": reason,
        "message": "because",
    }


def with_condition(state: State | None, kind: str, reason: str, **how: Any) -> Account:
    found = body(state, **how)
    found["status"]["conditions"] = [condition(kind, reason)]
    return Account.of(found, None, NOW)


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in (Phase.STABLE, Phase.ROLLED_BACK)])
def test_a_rollout_that_goes_on_has_no_end(phase: Phase) -> None:
    assert ending(account(under_way(phase))) is None


def test_a_rollout_that_waits_for_a_person_has_no_end_though_it_counts_as_stalled() -> None:
    assert ending(with_condition(under_way(Phase.HELD), "Stalled", "Paused")) is None


def test_a_first_revision_that_cannot_start_is_a_bad_end() -> None:
    state = State(Phase.INITIALIZING, NOW, attempt=Attempt(canary=CANARY))

    assert ending(with_condition(state, "Stalled", "ModelLoadFailed")) == (
        ROLLED_BACK,
        "ModelLoadFailed, nothing is serving: because",
    )


def test_an_emergency_rollback_ends_well_though_it_counts_as_stalled() -> None:
    state = under_way(Phase.STABLE, override=STABLE, override_of=CANARY)

    assert ending(with_condition(state, "Stalled", "Overridden")) == (
        PROMOTED,
        f"shop-{STABLE} (6) is serving in place of the spec's revision",
    )


def test_a_request_that_was_not_answered_yet_may_change_the_end() -> None:
    request = f"shop-{BEFORE} at=2026-11-21T12:00:00Z"
    asked = body(IDLE, wanted=STABLE)
    asked["metadata"]["annotations"] = {"tritonfleet.dev/rollback-to": request}
    answered = body(replace(IDLE, consumed=(f"rollback-to={BEFORE}@2026-11-21T12:00:00Z",)), wanted=STABLE)
    answered["metadata"]["annotations"] = {"tritonfleet.dev/rollback-to": request}

    assert ending(Account.of(asked, None, NOW)) is None
    assert "the operator has not handled it yet" in plain(Account.of(asked, None, NOW))
    assert ending(Account.of(answered, None, NOW)) == (PROMOTED, f"shop-{STABLE} (6) is serving")
    assert "the operator has not handled it yet" not in plain(Account.of(answered, None, NOW))


def test_a_wait_succeeds_when_the_specs_revision_serves() -> None:
    assert ending(SERVES) == (PROMOTED, f"shop-{STABLE} (6) is serving")


def test_a_wait_does_not_end_before_the_new_revision_is_admitted() -> None:
    assert ending(account(IDLE)) is None


def test_a_wait_does_not_end_on_an_unprocessed_spec() -> None:
    newer = body(IDLE, wanted=STABLE)
    newer["metadata"]["generation"] = 4

    assert ending(Account.of(newer, None, NOW)) is None


def test_a_rejected_revision_is_the_bad_end_and_says_why() -> None:
    assert ending(REFUSED) == (ROLLED_BACK, f"RolledBack, shop-{STABLE} (6) is serving: error rate 5.0%")


def test_a_retry_or_another_wish_after_a_rejection_is_a_beginning_and_no_end() -> None:
    retried = State(Phase.ROLLED_BACK, NOW, "Worse", stable=STABLE)

    assert ending(account(retried)) is None
    assert ending(account(replace(retried, rejected=REJECTED), wanted=BEFORE)) is None


def test_an_emergency_rollback_that_serves_is_a_good_end() -> None:
    state = under_way(Phase.STABLE, override=STABLE, override_of=CANARY)

    assert ending(account(state)) == (PROMOTED, f"shop-{STABLE} (6) is serving in place of the spec's revision")


def test_without_steps_ready_is_the_good_end_and_stalled_the_bad_one() -> None:
    assert ending(with_condition(None, "Ready", "Serving", wanted=STABLE)) == (
        PROMOTED,
        f"shop-{STABLE} (6) is serving",
    )
    assert ending(with_condition(None, "Ready", "Serving")) is None
    assert ending(with_condition(None, "Stalled", "ModelLoadFailed")) == (
        ROLLED_BACK,
        f"ModelLoadFailed, shop-{STABLE} (6) is serving: because",
    )


def test_what_is_suspended_is_not_waited_for() -> None:
    with pytest.raises(UsageError, match="no rollout until `suspend` is false"):
        ending(account(IDLE, suspend=True))


async def waited(looks: Sequence[Account | Transient], timeout_seconds: float | None = None) -> int:
    remaining = iter(looks)

    async def look() -> Account:
        seen = next(remaining)
        if isinstance(seen, Transient):
            raise seen
        return seen

    return await wait(look, 0.001, timeout_seconds)


async def test_waiting_says_each_change_once(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = under_way(Phase.SHIFTING, applied_weight=10), under_way(Phase.ANALYZING)

    status = await waited([account(first), account(first), account(second), account(second), SERVES])

    assert status == 0
    assert capsys.readouterr().out.splitlines() == [
        "prod/shop: Shifting, step 2 of 3, weight 10%: window 4 of 10",
        "prod/shop: Analyzing, step 2 of 3, weight 50%: window 4 of 10",
        f"prod/shop: shop-{STABLE} (6) is serving",
    ]


async def test_waiting_outlasts_an_api_server_that_is_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tritonfleet.cli.rollout.command._RETRIED_SECONDS", 0.001)

    assert await waited([Transient("connection refused"), SERVES]) == 0
    assert "the API server is not responding, retrying: connection refused" in capsys.readouterr().err


async def test_a_wait_ends_in_time_and_says_what_was_missing(capsys: pytest.CaptureFixture[str]) -> None:
    held = account(under_way(Phase.AWAITING_APPROVAL))

    assert await waited([held] * 1000, timeout_seconds=0.01) == TOO_LATE
    assert capsys.readouterr().err == ("prod/shop: timed out waiting for approval of step 2\n")


def test_history_lists_what_became_of_each_revision() -> None:
    rows = output.history_text(account(under_way(Phase.ANALYZING))).splitlines()

    assert rows[0].split() == ["NUMBER", "REVISION", "OUTCOME", "CREATED", "MODEL", "IMAGE", "IMAGE", "DIGEST"]
    assert rows[1].startswith(f"7       shop-{CANARY}  Analyzing (50%)  2026-11-21T11:55:00Z")
    assert rows[2].endswith("sha256:aaaaaaaaaaaa  triton:1")
    assert rows[3].split() == ["5", f"shop-{BEFORE}", "Retired"]


def test_history_says_which_revision_is_on_standby() -> None:
    state = under_way(Phase.STABLE, standby=Standby(BEFORE, NOW + timedelta(minutes=1)))

    assert output.history_text(account(state)).splitlines()[3].split("  ")[-1] == "Standby"


def test_history_says_why_a_revision_was_rejected() -> None:
    assert "Rejected, Worse" in output.history_text(REFUSED).splitlines()[1]
    assert (
        output.history_document(REFUSED)[0]["rejected"]["message"]
        == "error rate worse than stable: canary 5.0% (20/400)"
    )


def record(number: int, **spec: Any) -> Manifest:
    made = body(None, **spec)
    revision = build_revision(ModelDeployment.parse(made), DEFAULTS)
    return controller_revision(names.revision_metadata(made["metadata"], revision.hash), number, revision.data)


OLD = record(1, batching={"maxBatchSize": 8})
NEW = record(2, batching={"maxBatchSize": 16}, server={"env": [{"name": "THREADS", "value": "4"}]})


def test_a_diff_shows_what_differs_in_spec_configuration_and_pods() -> None:
    said = difference(OLD, NEW)

    assert f"--- {OLD['metadata']['name']} (1)/spec.yaml\n+++ {NEW['metadata']['name']} (2)/spec.yaml\n" in said
    assert "-max_batch_size: 8\n+max_batch_size: 16\n" in said
    assert "+    - name: THREADS\n" in said
    # That the two have other names is no difference.
    assert not [
        line
        for line in said.splitlines()
        if line[1:].strip().startswith("tritonfleet.dev/revision:") and line[0] in "+-"
    ]


def numbered(number: int, revision: str, **spec: Any) -> Manifest:
    """Return a record as if its hash was this."""
    made = record(number, **spec)
    own = made["metadata"]["labels"]["tritonfleet.dev/revision"]
    return json.loads(json.dumps(made).replace(own, revision))


def test_a_hash_of_digits_alone_is_no_difference_and_is_found() -> None:
    digits, letters = numbered(1, "0123456789"), numbered(2, "abcdefabcd")
    assert difference(digits, letters) == ""
    assert found([digits, letters], "0123456789") is digits


def test_a_diff_shows_durations_as_they_are_written() -> None:
    def delayed(number: int, delay: str) -> Manifest:
        batching = {"maxBatchSize": 8, "dynamic": {"maxQueueDelay": delay}}
        return record(number, batching=batching)

    said = difference(delayed(1, "2ms"), delayed(2, "1500us"))
    assert "-    maxQueueDelay: 2ms\n+    maxQueueDelay: 1500us\n" in said
    normal = {"server": {"startupTimeout": 90_000_000, "drainTimeout": 0}}
    assert readable_spec(normal) == {"server": {"startupTimeout": "90s", "drainTimeout": "0s"}}


def test_a_model_that_never_loaded_is_not_said_to_serve() -> None:
    def stuck(state: State | None) -> Account:
        made = body(state, wanted=STABLE)
        conditions = (
            ("Available", "False", "NoReadyReplicas", "none"),
            ("Stalled", "True", "FetchFailed", "no bucket"),
        )
        made["status"]["conditions"] = [
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "observedGeneration": 3,
                "lastTransitionTime": "2026-11-21T11:55:00Z",
            }
            for kind, status, reason, message in conditions
        ]
        return Account.of(made, None, NOW)

    for found_account in (stuck(None), stuck(replace(IDLE, standby=None))):
        assert waits_for(found_account) in (
            f"the first pods of shop-{STABLE} (6) to be ready",
            f"pods of shop-{STABLE} (6) to be ready",
        )
        assert ending(found_account) == (ROLLED_BACK, "FetchFailed, nothing is serving: no bucket")
        assert "is serving" not in output.plain(found_account)


def test_a_revision_does_not_differ_from_itself() -> None:
    assert difference(OLD, OLD) == ""


def test_a_diff_of_a_revision_that_is_not_kept_says_which_are() -> None:
    assert found([OLD, NEW], "2") is NEW
    assert found([OLD, NEW], OLD["metadata"]["name"]) is OLD
    with pytest.raises(UsageError, match="revision '3' not found; available: 1, 2"):
        found([OLD, NEW], "3")
