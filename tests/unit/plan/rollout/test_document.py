"""A rollout survives a restart of the operator exactly, and nothing that a person writes into it breaks anything."""

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plan.rollout.stage import but
from tritonfleet.api.canary import Canary, CapacityMode
from tritonfleet.api.rollout_status import RolloutStatus
from tritonfleet.plan.rollout import (
    TRAITS,
    Attempt,
    Phase,
    Rejection,
    RolloutReason,
    Standby,
    State,
    TransitionRecord,
    restore_state,
    rollout_document,
)
from tritonfleet.plan.rollout.analysis import CheckResult, Numbers, Outcome, Progress, Why

OWNER = "shop-recommender"
NOW = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
STABLE, CANARY = "1a2b3c4d5e", "0123456789"
KEYS = {field.alias or name for name, field in RolloutStatus.model_fields.items()}
MIDWAY = State(
    phase=Phase.ANALYZING,
    entered_at=NOW,
    reason="AnalysisRunning",
    message="step 2 of 3: 50%",
    stable=STABLE,
    attempts=3,
    replicas=4,
    attempt=Attempt(
        canary=CANARY,
        plan=Canary.model_validate({"steps": [{"weight": 10}, {"weight": 50}]}),
        mode=CapacityMode.SURGE,
        surge=4,
        canary_replicas=2,
        step=1,
        step_entered_at=NOW,
        weight=50,
        applied_weight=50,
        measured_share=0.4871,
        verified=True,
    ),
)

moments = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - `timezones` adds it
hashes = st.text("0123456789abcdef", min_size=10, max_size=10)
perhaps = st.one_of(st.just(""), hashes)
reasons = st.sampled_from([reason.value for reason in RolloutReason])
words = st.from_regex(r"[A-Z][A-Za-z]{0,30}", fullmatch=True)
sentences = st.text(max_size=40)
counts = st.integers(0, 10_000)
numbers = st.one_of(st.none(), st.floats(0, 1000))
naturals = st.one_of(st.none(), counts)
checks = st.builds(
    lambda *given: CheckResult(*given).document(),
    words,
    st.sampled_from(Outcome),
    st.sampled_from(Why),
    sentences,
    st.builds(Numbers, numbers, naturals, numbers, naturals, numbers, numbers),
)

passages = st.builds(
    TransitionRecord, moments, st.sampled_from(Phase), st.sampled_from(Phase), st.one_of(st.just(""), words), sentences
)


PLANS = (Canary(), Canary.model_validate({"steps": [{"weight": 5, "pause": {}}], "analysis": {"bakeTime": "1m"}}))
attempts = st.builds(
    Attempt,
    canary=hashes,
    plan=st.sampled_from(PLANS),
    mode=st.sampled_from((None, CapacityMode.SURGE, CapacityMode.IN_PLACE, CapacityMode.RECREATE)),
    surge=counts,
    canary_replicas=counts,
    step=st.integers(0, 10),
    step_entered_at=moments,
    weight=st.integers(0, 100),
    applied_weight=st.integers(0, 100),
    opening=st.booleans(),
    measured_share=st.one_of(st.none(), st.integers(0, 10_000).map(lambda parts: parts / 10_000)),
    verified=st.booleans(),
    analysis=st.sampled_from((None, Progress(last_end_seconds=1.5))),
    settled_at=st.one_of(st.none(), moments),
    metrics_lost_since=st.one_of(st.none(), moments),
    resume=st.one_of(st.none(), st.sampled_from(Phase)),
    reverts=st.lists(moments, max_size=3).map(tuple),
    rejecting=st.booleans(),
)


@st.composite
def states(draw):
    phase = draw(st.sampled_from(Phase))
    running = TRAITS[phase].under_way
    first = st.one_of(st.none(), st.builds(Attempt, canary=hashes))
    standby = st.builds(Standby, hashes, st.one_of(st.none(), moments), counts)
    return draw(
        st.builds(
            State,
            phase=st.just(phase),
            entered_at=moments,
            reason=reasons if running or phase is Phase.ROLLED_BACK else st.one_of(st.just(""), reasons),
            message=sentences,
            stable=perhaps if phase is Phase.INITIALIZING else hashes,
            attempts=counts,
            replicas=counts,
            attempt=attempts if running else first if phase is Phase.INITIALIZING else st.none(),
            standby=st.none() if running or phase is Phase.INITIALIZING else st.one_of(st.none(), standby),
            verification=st.lists(checks, max_size=2).map(tuple),
            results=st.lists(checks, max_size=2).map(tuple),
            rejected=st.lists(st.builds(Rejection, hashes, words, sentences, moments), max_size=2).map(tuple),
            override=perhaps,
            override_of=perhaps,
            consumed=st.lists(st.text(min_size=1, max_size=20), max_size=3).map(tuple),
            history=st.lists(passages, max_size=3).map(tuple),
        )
    )


@given(states())
def test_what_is_written_down_is_read_back_exactly(state):
    written = json.loads(json.dumps(rollout_document(state, OWNER), allow_nan=False))

    assert restore_state(written) == state


@given(states())
def test_what_was_read_back_is_written_down_the_same(state):
    written = rollout_document(state, OWNER)

    restored = restore_state(written)

    assert restored is not None
    assert rollout_document(restored, OWNER) == written


def test_nothing_that_a_rollout_remembers_is_left_out():
    record = TransitionRecord(NOW, Phase.STABLE, Phase.ADMITTING, "RevisionWanted", "another revision is wanted")
    check = CheckResult("golden-requests", Outcome.PASSED, Why.NOT_WORSE, "2 of 2 pods").document()
    full = but(
        MIDWAY,
        phase=Phase.HELD,
        resume=Phase.SHIFTING,
        opening=True,
        settled_at=NOW,
        verification=(check,),
        analysis=Progress(),
        results=(check,),
        metrics_lost_since=NOW,
        reverts=(NOW,),
        rejecting=True,
        rejected=(Rejection("00000000aa", "Worse", "it was worse", NOW),),
        override="00000000aa",
        override_of="00000000bb",
        consumed=("abort=00000000aa",),
        history=(record,),
    )

    kept = [each.name for each in fields(State) if getattr(full, each.name) == getattr(State(), each.name)]
    assert kept == ["standby"]
    assert [
        each.name for each in fields(Attempt) if getattr(full.attempt, each.name) == getattr(Attempt(), each.name)
    ] == []
    assert restore_state(rollout_document(full, OWNER)) == full
    assert {*rollout_document(full, OWNER), "previous", "retainedUntil"} == KEYS


def test_what_stands_by_is_written_down_and_read_back():
    state = State(Phase.STABLE, NOW, stable=CANARY, standby=Standby(STABLE, NOW, 4))
    written = rollout_document(state, OWNER)

    assert (written["previous"], written["surge"]) == (f"{OWNER}-{STABLE}", 4)
    assert restore_state(written) == state


def test_no_canary_is_left_where_no_rollout_is_under_way():
    assert restore_state({**rollout_document(MIDWAY, OWNER), "phase": "Stable"}) is None


def test_a_fresh_start_is_written_down_and_read_back():
    assert restore_state(rollout_document(State(), OWNER)) == State()


def test_people_read_names_of_revisions_and_count_steps_from_one():
    written = rollout_document(MIDWAY, OWNER)

    assert (written["stable"], written["canary"]) == (f"{OWNER}-{STABLE}", f"{OWNER}-{CANARY}")
    assert (written["step"], written["steps"]) == (2, 3)
    assert written["weights"] == {"desired": 50, "applied": 50, "measured": 48.71}
    assert "previous" not in written
    assert "retainedUntil" not in written


def test_what_grows_is_cut_to_what_the_api_server_takes():
    record = TransitionRecord(NOW, Phase.STABLE, Phase.ADMITTING, "CanaryProgressing", "n" * 3000)
    check = CheckResult(
        "error-rate", Outcome.FAILED, Why.WORSE, "m" * 3000, Numbers(canary=float("inf"), limit=float("nan"))
    )
    grown = but(
        MIDWAY,
        message="m" * 3000,
        history=tuple(replace(record, at=NOW + timedelta(minutes=n)) for n in range(40)),
        results=(check.document(),) * 30,
        rejected=tuple(Rejection(f"{n:010x}", "Worse", "m" * 3000, NOW) for n in range(9)),
        consumed=tuple(f"abort={n}" for n in range(30)),
        reverts=tuple(NOW + timedelta(seconds=n) for n in range(30)),
    )

    written = rollout_document(grown, OWNER)
    restored = restore_state(json.loads(json.dumps(written, allow_nan=False)))

    RolloutStatus.model_validate(written)
    assert len(json.dumps(written)) < 32 * 1024
    assert restored is not None
    assert restored.history[0].at == NOW
    assert [one.revision for one in restored.rejected] == [f"{n:010x}" for n in range(4, 9)]
    assert restored.consumed == tuple(f"abort={n}" for n in range(10, 30))
    assert restored.attempt.reverts[-1] == grown.attempt.reverts[-1]
    assert rollout_document(restored, OWNER) == written


@pytest.mark.parametrize(
    "change",
    [
        {"phase": "Dreaming"},
        {"phase": None},
        {"enteredAt": "yesterday"},
        {"enteredAt": "2026-11-21T12:00:00"},
        {"enteredAt": "0001-01-01T00:00:00+14:00"},
        {"stable": "recommender"},
        {"stable": ""},
        {"canary": None},
        {"weights": {"desired": 120, "applied": 0}},
        {"weights": {"desired": float("nan"), "applied": 0}},
        {"weights": "10"},
        {"reason": "BadLuck"},
        {"reason": None},
        {"mode": "Sideways"},
        {"plan": {"steps": [{"weight": "many"}]}},
        {"plan": {"steps": [{"weight": 5, "pause": {"duration": "soon"}}]}},
        {"plan": {"analysis": {"interval": "now and then"}}},
        {"step": -1},
        {"resume": "Later"},
        {"plan": ["steps"]},
        {"results": [{"check": "error-rate"}]},
        {"history": [{"at": "2026-11-21T12:00:00Z", "from": "Stable", "to": "Nowhere"}]},
        {"rejected": [{"revision": "x", "reason": "Worse", "at": "2026-11-21T12:00:00Z"}]},
        {"reverts": [5]},
    ],
    ids=str,
)
def test_what_cannot_be_gone_on_from_is_no_state(change):
    written = {key: value for key, value in {**rollout_document(MIDWAY, OWNER), **change}.items() if value is not None}

    assert restore_state(written) is None


@pytest.mark.parametrize("nonsense", [None, "", [], {}, 7, {"phase": "Stable"}], ids=str)
def test_what_is_no_document_is_no_state(nonsense):
    assert restore_state(nonsense) is None


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=10), inner, max_size=3)),
    max_leaves=10,
)


@given(st.sampled_from(sorted(RolloutStatus.model_json_schema()["properties"])), json_values)
def test_no_text_in_a_request_field_raises(field, value):
    restored = restore_state({**rollout_document(MIDWAY, OWNER), field: value})

    assert restored is None or isinstance(restored, State)
