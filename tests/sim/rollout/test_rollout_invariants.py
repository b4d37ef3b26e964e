"""The invariants are worth something: an operator with one thing wrong is found out by a few histories."""

from dataclasses import replace

import pytest

from tests.sim.rollout.chance import History
from tests.sim.rollout.checkpoints import SPECS, checkpoints
from tritonfleet.plan import reconcile
from tritonfleet.plan.rollout import Phase, RolloutReason, canary, context, planner, sizing
from tritonfleet.plan.rollout.analysis import Outcome, analyze

HISTORIES = 600
TURNS = 8


def shifts_without_counting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sizing, "can_serve", lambda *_: True)


def asks_for_one_pod_more(patch: pytest.MonkeyPatch) -> None:
    right = sizing.revision_sizes
    patch.setattr(
        planner,
        "revision_sizes",
        lambda context: {revision: size + 1 for revision, size in right(context).items()},
    )


def takes_stable_away_at_once(patch: pytest.MonkeyPatch) -> None:
    right = sizing.revision_sizes

    def wrong(context):
        found = dict(right(context))
        return found | {context.state.stable: 0} if context.state.phase is Phase.ANALYZING else found

    patch.setattr(planner, "revision_sizes", wrong)


def loses_one_percent(patch: pytest.MonkeyPatch) -> None:
    right = planner._split
    patch.setattr(planner, "_split", lambda *of: {to: share - (share == 25) for to, share in right(*of).items()})


def passes_everything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(canary, "analyze", lambda *of: replace(analyze(*of), outcome=Outcome.PASSED))


def rolls_back_when_it_sees_nothing(patch: pytest.MonkeyPatch) -> None:
    def wrong(*of):
        verdict = analyze(*of)
        return replace(verdict, outcome=Outcome.FAILED) if verdict.outcome is Outcome.ERROR else verdict

    patch.setattr(canary, "analyze", wrong)
    patch.setattr(canary, "of_why", lambda _why: RolloutReason.WORSE)


def changes_stable_when_the_canary_gets_traffic(patch: pytest.MonkeyPatch) -> None:
    right = context.RolloutContext.go

    def wrong(self, target, *of):
        found = right(self, target, *of)
        return (
            replace(found, state=replace(found.state, stable=self.state.canary)) if target is Phase.ANALYZING else found
        )

    patch.setattr(context.RolloutContext, "go", wrong)


def takes_two_steps_at_once(patch: pytest.MonkeyPatch) -> None:
    right = planner.advance

    def wrong(state, inputs, now):
        first = right(state, inputs, now)
        return right(first.state, inputs, now) if first.state.phase is Phase.VERIFYING else first

    patch.setattr(reconcile, "advance", wrong)


def holds_without_a_word(patch: pytest.MonkeyPatch) -> None:
    right = context.RolloutContext.go

    def wrong(self, target, *of):
        found = right(self, target, *of)
        return replace(found, state=replace(found.state, message="")) if target is Phase.HELD else found

    patch.setattr(context.RolloutContext, "go", wrong)


def writes_the_time_into_the_status(patch: pytest.MonkeyPatch) -> None:
    right = planner.plan_rollout
    turns = iter(range(10**9))

    def wrong(*of):
        found = right(*of)
        return replace(found, state=replace(found.state, message=f"pass {next(turns)}"))

    patch.setattr(reconcile, "plan_rollout", wrong)


SABOTAGE = {
    shifts_without_counting: "ready pods",
    asks_for_one_pod_more: "allowed",
    takes_stable_away_at_once: "ready pods",
    loses_one_percent: "do not add up to 100 %",
    passes_everything: "with {",
    rolls_back_when_it_sees_nothing: "-> RollingBack",
    changes_stable_when_the_canary_gets_traffic: "stable changed in",
    takes_two_steps_at_once: "transitions in one write",
    holds_without_a_word: "without a message",
    writes_the_time_into_the_status: "never at rest",
}


@pytest.mark.parametrize("wrong", SABOTAGE, ids=lambda wrong: wrong.__name__)
def test_an_operator_that_does_wrong_is_found_out(wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(len(SPECS)):
        checkpoints(number)
    wrong(monkeypatch)
    with pytest.raises(AssertionError, match=SABOTAGE[wrong]):
        play_many()


def play_many() -> None:
    for seed in range(HISTORIES):
        History(seed).play(TURNS)
