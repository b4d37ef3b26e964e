"""Requests of the command line: only those that are possible now, as annotations that the operator understands."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.unit.cli.rollouts import BEFORE, CANARY, IDLE, NOW, REJECTED, STABLE, account, under_way
from tritonfleet.cli.rollout.requests import permitted, refusal, request_for
from tritonfleet.cli.terminal import UsageError
from tritonfleet.plan.rollout import Attempt, Phase, Request, Standby, State, Verb, parse_request

ROLLED_BACK = State(Phase.ROLLED_BACK, NOW, "Worse", stable=STABLE, rejected=REJECTED)


@pytest.mark.parametrize("phase", Phase)
def test_every_permitted_request_is_understood_by_the_operator(phase: Phase) -> None:
    found = account(under_way(phase, rejected=REJECTED))

    for verb in permitted(found):
        request = request_for(found, verb, None, "system:serviceaccount:prod:ann smith\n")
        read = parse_request(verb, request.value, "shop", request.annotation)
        served = STABLE if phase is Phase.PROMOTING else BEFORE
        meant = {Verb.ROLLBACK_TO: served, Verb.RETRY: f"shop-{CANARY}"}.get(verb, CANARY)
        step = 2 if verb is Verb.APPROVE else None
        assert request.annotation == f"tritonfleet.dev/{verb}"
        assert read == Request(verb, meant, step, "system:serviceaccount:prod:ann_smith_", "2026-11-21T12:00:00Z")
        assert len(request.outcome) > 20


@pytest.mark.parametrize(
    ("state", "verbs"),
    [
        (under_way(Phase.ANALYZING), {Verb.ABORT, Verb.PAUSE, Verb.PROMOTE}),
        (under_way(Phase.AWAITING_APPROVAL), {Verb.ABORT, Verb.PAUSE, Verb.PROMOTE, Verb.APPROVE}),
        (under_way(Phase.HELD), {Verb.ABORT, Verb.PAUSE, Verb.RESUME, Verb.PROMOTE}),
        (
            under_way(Phase.HELD, resume=Phase.ANALYZING, reason="TooFewRequests"),
            {Verb.ABORT, Verb.PAUSE, Verb.RESUME, Verb.PROMOTE, Verb.APPROVE},
        ),
        (under_way(Phase.PROMOTING), {Verb.ROLLBACK_TO}),
        (ROLLED_BACK, {Verb.RETRY, Verb.ROLLBACK_TO}),
        (IDLE, {Verb.ROLLBACK_TO}),
        (State(Phase.INITIALIZING, NOW, attempt=Attempt(canary=CANARY)), set()),
        (None, set()),
    ],
    ids=lambda value: value.phase if isinstance(value, State) else "",
)
def test_each_phase_lets_ask_for_what_it_can_do(state: State | None, verbs: set[Verb]) -> None:
    assert set(permitted(account(state))) == verbs


@pytest.mark.parametrize(
    ("state", "verb", "why"),
    [
        (IDLE, Verb.ABORT, f"no rollout is in progress: it is Stable, shop-{STABLE} (6) is serving"),
        (under_way(Phase.PROMOTING), Verb.ABORT, "too late to abort in Promoting: use undo instead"),
        (under_way(Phase.ANALYZING), Verb.APPROVE, "no step is waiting for approval, the rollout is Analyzing"),
        (under_way(Phase.ANALYZING), Verb.RESUME, "the rollout is not held, but Analyzing"),
        (under_way(Phase.PROMOTING), Verb.PAUSE, "nothing to pause in Promoting"),
        (IDLE, Verb.RETRY, "the spec's revision is not rejected: it is Stable, "),
        (
            under_way(Phase.ANALYZING),
            Verb.ROLLBACK_TO,
            f"it is Analyzing, shop-{STABLE} (6) is serving; abort rolls the canary back; name an older revision",
        ),
        (None, Verb.ROLLBACK_TO, "it has no canary rollouts"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_phase(state: State | None, verb: Verb, why: str) -> None:
    assert (refusal(account(state), verb) or "").startswith(why)


def test_what_the_spec_holds_is_resumed_in_the_spec() -> None:
    held = account(under_way(Phase.HELD), rollout={"paused": True})

    assert (refusal(held, Verb.RESUME) or "").startswith("spec.rollout.paused is set: unset it instead")


@pytest.mark.parametrize("word", ["5", BEFORE, f"shop-{BEFORE}"])
def test_an_undo_may_name_its_revision_in_three_ways(word: str) -> None:
    assert (
        request_for(account(IDLE), Verb.ROLLBACK_TO, word, "ann").value
        == f"shop-{BEFORE} by=ann at=2026-11-21T12:00:00Z"
    )


def test_an_undo_says_how_long_it_takes_and_what_ends_it() -> None:
    standing_by = under_way(Phase.STABLE, standby=Standby(BEFORE, NOW + timedelta(minutes=4)))

    assert (
        "takes over within seconds: its pods are on standby"
        in request_for(account(standing_by), Verb.ROLLBACK_TO, None, "").outcome
    )
    assert "when its pods are ready, without steps" in request_for(account(IDLE), Verb.ROLLBACK_TO, None, "").outcome
    assert "the spec is unchanged" in request_for(account(IDLE), Verb.ROLLBACK_TO, None, "").outcome


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("9", "revision '9' not found; available: 7, 6, 5"),
        ("7", "revision 7 is already the requested revision: it is Stable"),
    ],
)
def test_an_undo_to_what_cannot_be_is_refused(word: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        request_for(account(IDLE), Verb.ROLLBACK_TO, word, "ann")


@pytest.mark.parametrize(
    ("state", "word", "outcome"),
    [
        (under_way(Phase.ANALYZING), STABLE, f"shop-{STABLE} (6) gets all traffic again; the spec is unchanged"),
        (
            under_way(Phase.PROMOTING),
            None,
            f"shop-{STABLE} (6) takes over again after the promotion; the spec is",
        ),
        (
            under_way(Phase.STABLE, override=STABLE, override_of=CANARY),
            "7",
            "the spec applies again, with",
        ),
    ],
)
def test_an_undo_says_what_comes_of_it(state: State, word: str | None, outcome: str) -> None:
    assert request_for(account(state), Verb.ROLLBACK_TO, word, "").outcome.startswith(outcome)


def test_an_undo_does_not_go_back_to_what_was_rejected() -> None:
    rejected = account(under_way(Phase.STABLE, rejected=(REJECTED[0], REJECTED[0].__class__(BEFORE, "Worse", "", NOW))))

    assert (refusal(rejected, Verb.ROLLBACK_TO) or "").startswith(
        f"it is Stable, shop-{STABLE} (6) is serving; name an older revision"
    )


def test_a_request_without_a_user_has_only_its_time() -> None:
    assert request_for(account(under_way(Phase.HELD)), Verb.RESUME, None, "").value == (
        f"shop-{CANARY} at=2026-11-21T12:00:00Z"
    )


@pytest.mark.parametrize("action", ["status", "pause", "approve", "undo", "history", "diff"])
def test_an_action_without_a_name_is_refused_in_one_line(tritonfleet: Callable, action: str) -> None:
    said = tritonfleet("rollout", action)

    assert said.status == 2
    assert said.err.startswith(f"tritonfleet rollout {action}: missing argument 'NAME'")


def test_a_missing_cluster_configuration_is_reported_in_one_line(tritonfleet: Callable, tmp_path) -> None:
    said = tritonfleet("rollout", "status", "shop", "--kubeconfig", tmp_path / "none")

    assert said.status == 2
    assert said.err.startswith(f"tritonfleet rollout status: {tmp_path / 'none'}: ")
    assert said.err.count("\n") == 1
