"""What holds in every state and whatever is seen."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plan.rollout.stage import (
    CRASHING,
    NEW,
    NO_GPU,
    NOW,
    NUMBERS,
    OLD,
    THIRD,
    context,
    evidence,
    go,
    gpus,
    plan,
    policy,
    running,
    seen,
    settle,
    window,
)
from tritonfleet.api.canary import Canary
from tritonfleet.plan.rollout import (
    TRAITS,
    TRANSITIONS,
    Attempt,
    Phase,
    Rejection,
    Request,
    RevisionPods,
    RolloutContext,
    RolloutReason,
    Standby,
    State,
    Verb,
    desired_rollout,
)
from tritonfleet.plan.rollout.analysis import CheckResult, Outcome, Verification, Why
from tritonfleet.plan.rollout.inputs import ObservedSplit

FINDINGS = st.sampled_from([None, None, None, CRASHING, NO_GPU])
COUNT = st.integers(0, 5)


@st.composite
def revisions(draw):
    found = {}
    for revision, number in NUMBERS.items():
        ready = draw(COUNT)
        existing = ready + draw(st.integers(0, 2))
        unsteady = draw(st.sampled_from(["", "", "", "it ended"]))
        found[revision] = RevisionPods(number, existing, ready, draw(COUNT), draw(FINDINGS), unsteady)
    return found


@st.composite
def states(draw):
    phase = draw(st.sampled_from(list(Phase)))
    if phase is Phase.INITIALIZING:
        return State(entered_at=NOW, attempt=Attempt(canary=NEW))
    mode, surge = draw(st.sampled_from([("Surge", 4), ("Surge", 1), ("InPlace", 0), ("Recreate", 0)]))
    common: dict[str, Any] = {"stable": OLD, "replicas": 4, "entered_at": NOW, "reason": "Serves"}
    rejected = draw(st.sampled_from([(), (Rejection(NEW, "Worse", "", NOW),)]))
    if not TRAITS[phase].under_way:
        standby = Standby(THIRD, NOW + timedelta(minutes=5), surge) if draw(st.booleans()) else None
        return State(phase=phase, **common, standby=standby, rejected=rejected)
    weight, applied = draw(st.sampled_from([(0, 0), (25, 0), (25, 25), (50, 25), (50, 50), (100, 50), (100, 100)]))
    resume = (
        draw(st.sampled_from([None, *(each for each in Phase if TRAITS[each].can_hold)]))
        if phase is Phase.HELD
        else None
    )
    reasons = [RolloutReason.SERVES, *RolloutReason] if phase is Phase.HELD else [RolloutReason.WORSE]
    return running(
        phase,
        **{**common, "reason": draw(st.sampled_from(reasons)).value},
        mode=mode,
        surge=surge,
        step=draw(st.integers(0, 2)),
        canary_replicas=draw(st.integers(1, 4)),
        verified=draw(st.booleans()),
        weight=0 if phase is Phase.ADMITTING else weight,
        applied_weight=0 if phase is Phase.ADMITTING else applied,
        rejecting=draw(st.booleans()),
        resume=resume,
    )


@st.composite
def facts_about(draw, state):
    asked = draw(st.sampled_from([None, *Verb]))
    step = 1 if asked is Verb.APPROVE else None
    requests = (Request(asked, NEW, step),) if asked is not None else ()
    look = draw(
        st.sampled_from([None, window(), window(errors=300), window(stable_errors=300), window(unreachable="away")])
    )
    said = draw(st.sampled_from([None, *Outcome]))
    answer = (
        Verification(said, (CheckResult("golden-requests", said, Why.SUSPECT, "so"),), 1) if said is not None else None
    )
    split = draw(
        st.sampled_from(
            [
                ObservedSplit(None, settled=False),
                ObservedSplit(state.attempt.weight if state.attempt else 0, settled=True),
                ObservedSplit(0, settled=False, problem="refused"),
                ObservedSplit(0, settled=False, foreign=True),
            ]
        )
    )
    return replace(
        seen(),
        revisions=draw(revisions()),
        target=draw(st.sampled_from([NEW, NEW, OLD, THIRD, ""])),
        replicas=draw(st.sampled_from([4, 4, 4, 2, 6, 0])),
        policy=policy(25, 50, rollout={"paused": draw(st.booleans())}),
        split=split,
        headroom=draw(st.sampled_from([None, gpus(0), gpus(4)])),
        gpus_per_pod=draw(st.sampled_from([0, 1])),
        evidence=evidence(state, window=look, verification=answer),
        requests=requests,
        suspended=draw(st.sampled_from([False, False, False, True])),
        older=draw(st.booleans()),
    )


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_from_any_state_with_any_inputs_a_pass_takes_one_transition_and_passes_settle(data):
    state = data.draw(states())
    inputs = data.draw(facts_about(state))
    after = data.draw(st.sampled_from([0, 31, 1000, 100_000]))
    last = settle(state, inputs, after)

    assert last.attempt is None or 0 <= last.attempt.weight <= 100
    assert TRAITS[last.phase].under_way or last.phase is Phase.INITIALIZING or last.attempt is None
    assert last.phase is not Phase.HELD or last.reason
    split = desired_rollout(context(last, inputs)).split
    assert sum(split.values()) in (0, 100)
    assert all(size >= 0 for size in desired_rollout(context(last, inputs)).sizes.values())


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_stable_changes_only_where_a_rollout_ends(data):
    state = data.draw(states())
    found = go(state, data.draw(facts_about(state)), data.draw(st.sampled_from([0, 31, 1000]))).state

    assert found.stable == state.stable or state.phase in (Phase.PROMOTING, Phase.INITIALIZING)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_count_that_changes_is_no_reason_to_write_anything(data):
    state = data.draw(states())
    inputs = data.draw(facts_about(state))
    last = settle(state, inputs, 31)
    more = {
        revision: replace(track, existing=track.existing + 1, asked=track.asked + 1)
        for revision, track in inputs.revisions.items()
    }
    again = go(last, replace(inputs, revisions=more), 31).state

    assert again.phase is not last.phase or again.message == last.message or "PodsEnding" in (last.reason, again.reason)


def test_a_step_that_the_table_does_not_have_is_refused():
    with pytest.raises(ValueError, match="no transition from Stable to Verifying"):
        RolloutContext(State(phase=Phase.STABLE), seen(), NOW).go(Phase.VERIFYING, RolloutReason.VERIFIED, "so")


def test_every_transition_is_listed_once_and_every_phase_can_be_left_and_reached():
    pairs = [(edge.source, edge.target) for edge in TRANSITIONS]

    assert len(pairs) == len(set(pairs))
    assert {source for source, _ in pairs} == set(Phase)
    assert {target for _, target in pairs} == set(Phase) - {Phase.INITIALIZING}
    assert all(edge.when for edge in TRANSITIONS)


def test_a_rollout_can_be_rolled_back_from_every_phase_before_it_is_stable_and_while_the_former_one_is_retained():
    back = {edge.source for edge in TRANSITIONS if edge.target is Phase.ROLLING_BACK}

    assert back == {*(phase for phase in Phase if TRAITS[phase].before_promotion), Phase.PROMOTING, Phase.STABLE}


def test_steps_edited_during_a_rollout_are_for_the_next_rollout():
    state = running(Phase.ANALYZING)

    assert go(state, seen(policy=policy(90)), after=1).state.attempt.plan == Canary.model_validate(plan(25, 50))
