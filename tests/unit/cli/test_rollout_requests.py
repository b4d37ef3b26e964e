"""What the command line asks of a rollout: only what makes sense now, in words that the operator reads."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.unit.cli.rollouts import BEFORE, CANARY, IDLE, NOW, REJECTED, STABLE, account, under_way
from tritonfleet.cli.complaint import Complaint
from tritonfleet.cli.rollout.permission import permitted, refusal
from tritonfleet.cli.rollout.request import asked
from tritonfleet.plan.rollout.phase import Phase
from tritonfleet.plan.rollout.requests import Request, Verb, parse
from tritonfleet.plan.rollout.state import State

ROLLED_BACK = State(Phase.ROLLED_BACK, NOW, stable=STABLE, rejected=REJECTED)


@pytest.mark.parametrize("phase", Phase)
def test_whatever_may_be_asked_is_what_the_operator_reads(phase: Phase) -> None:
    found = account(under_way(phase, rejected=REJECTED))

    for verb in permitted(found):
        request = asked(found, verb, None, "system:serviceaccount:prod:ann smith\n")
        read = parse(verb, request.value, "shop", request.annotation)
        meant = {Verb.ROLLBACK_TO: BEFORE, Verb.RETRY: f"shop-{CANARY}"}.get(verb, CANARY)
        step = 2 if verb is Verb.APPROVE else None
        assert request.annotation == f"tritonfleet.dev/{verb}"
        assert read == Request(verb, meant, step, "system:serviceaccount:prod:ann_smith_", "2026-11-21T12:00:00Z")
        assert len(request.outcome) > 20


@pytest.mark.parametrize(
    ("state", "verbs"),
    [
        (under_way(Phase.ANALYZING), {Verb.ABORT, Verb.PAUSE, Verb.PROMOTE, Verb.ROLLBACK_TO}),
        (under_way(Phase.AWAITING_APPROVAL), {Verb.ABORT, Verb.PAUSE, Verb.PROMOTE, Verb.APPROVE, Verb.ROLLBACK_TO}),
        (under_way(Phase.HELD), {Verb.ABORT, Verb.RESUME, Verb.PROMOTE, Verb.ROLLBACK_TO}),
        (under_way(Phase.PROMOTING), {Verb.ROLLBACK_TO}),
        (under_way(Phase.ROLLING_BACK), {Verb.ROLLBACK_TO}),
        (ROLLED_BACK, {Verb.RETRY, Verb.ROLLBACK_TO}),
        (IDLE, {Verb.ROLLBACK_TO}),
        (State(Phase.INITIALIZING, NOW, stable=STABLE), set()),
        (None, set()),
    ],
    ids=lambda value: value.phase if isinstance(value, State) else "",
)
def test_each_phase_lets_ask_for_what_it_can_do(state: State | None, verbs: set[Verb]) -> None:
    assert set(permitted(account(state))) == verbs


@pytest.mark.parametrize(
    ("state", "verb", "why"),
    [
        (IDLE, Verb.ABORT, f"no rollout is under way: it is Stable, shop-{STABLE} (6) serves"),
        (under_way(Phase.PROMOTING), Verb.ABORT, "it is Promoting, past the point of no return"),
        (under_way(Phase.ANALYZING), Verb.APPROVE, "it is Analyzing, not AwaitingApproval"),
        (under_way(Phase.ANALYZING), Verb.RESUME, "it is Analyzing, not Held"),
        (under_way(Phase.HELD), Verb.PAUSE, "it is Held already; resume lets it go on"),
        (under_way(Phase.ANALYZING), Verb.RETRY, f"a rollout of shop-{CANARY} (7) is under way (Analyzing)"),
        (IDLE, Verb.RETRY, f"the revision that the spec asks for, shop-{CANARY} (7), was not rejected"),
        (None, Verb.ROLLBACK_TO, "its revisions replace each other without steps"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_phase(state: State | None, verb: Verb, why: str) -> None:
    assert (refusal(account(state), verb) or "").startswith(why)


def test_what_the_spec_holds_is_resumed_in_the_spec() -> None:
    held = account(under_way(Phase.HELD), rollout={"paused": True})

    assert refusal(held, Verb.RESUME) == "the spec holds it: set rollout.paused to false"


@pytest.mark.parametrize("word", ["5", BEFORE, f"shop-{BEFORE}"])
def test_an_undo_may_name_its_revision_in_three_ways(word: str) -> None:
    assert asked(account(IDLE), Verb.ROLLBACK_TO, word, "ann").value == f"shop-{BEFORE} by=ann at=2026-11-21T12:00:00Z"


def test_an_undo_says_how_long_it_takes_and_what_ends_it() -> None:
    standing_by = under_way(Phase.STABLE, canary="", previous=BEFORE, retained_until=NOW + timedelta(minutes=4))

    assert "its pods stand by, so within seconds" in asked(account(standing_by), Verb.ROLLBACK_TO, None, "").outcome
    assert "when its pods are ready, without steps" in asked(account(IDLE), Verb.ROLLBACK_TO, None, "").outcome
    assert "the spec stays as it is" in asked(account(IDLE), Verb.ROLLBACK_TO, None, "").outcome


@pytest.mark.parametrize(
    ("word", "why"),
    [("9", "there is no revision '9'; kept are 7, 6, 5"), ("6", f"shop-{STABLE} \\(6\\) is stable already")],
)
def test_an_undo_to_what_cannot_be_is_refused(word: str, why: str) -> None:
    with pytest.raises(Complaint, match=why):
        asked(account(IDLE), Verb.ROLLBACK_TO, word, "ann")


def test_an_undo_does_not_go_back_to_what_was_rejected() -> None:
    rejected = account(
        under_way(Phase.STABLE, canary="", rejected=(REJECTED[0], REJECTED[0].__class__(BEFORE, "Worse", "", NOW)))
    )

    assert refusal(rejected, Verb.ROLLBACK_TO) == (
        f"no other revision that has served is kept; shop-{STABLE} (6) serves"
    )


def test_a_request_by_nobody_in_particular_says_only_when() -> None:
    assert asked(account(under_way(Phase.HELD)), Verb.RESUME, None, "").value == (
        f"shop-{CANARY} at=2026-11-21T12:00:00Z"
    )


@pytest.mark.parametrize("action", ["status", "pause", "approve", "undo", "history", "diff"])
def test_an_action_without_a_name_is_refused_in_one_line(tritonfleet: Callable, action: str) -> None:
    said = tritonfleet("rollout", action)

    assert said.status == 2
    assert said.err.startswith(f"tritonfleet rollout {action}: the following arguments are required: NAME")


def test_a_cluster_that_nobody_named_is_said_in_one_line(tritonfleet: Callable, tmp_path) -> None:
    said = tritonfleet("rollout", "status", "shop", "--kubeconfig", tmp_path / "none")

    assert said.status == 2
    assert said.err.startswith(f"tritonfleet rollout status: {tmp_path / 'none'}: ")
    assert said.err.count("\n") == 1
