"""What has to be seen of a rollout follows from what is written down, and from nothing else."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plan.rollout.stage import but
from tritonfleet.api.canary import ContractPolicy
from tritonfleet.api.slo import MetricsSource
from tritonfleet.plan.rollout import Attempt, MeasurementKey, Phase, Standby, State, TransitionRecord, measurement_of
from tritonfleet.plan.rollout.analysis import Progress
from tritonfleet.plan.world import Manifest

START = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
STABLE, CANARY = "a" * 10, "b" * 10
BODY: Manifest = {"metadata": {"name": "demo", "namespace": "shop"}, "spec": {"model": {"uri": "s3://m/1"}}}
STATE = State(
    phase=Phase.ANALYZING,
    stable=STABLE,
    attempts=3,
    attempt=Attempt(canary=CANARY, step=1, weight=20, applied_weight=20, step_entered_at=START),
)


def after(seconds):
    return (START + timedelta(seconds=seconds)).timestamp()


def test_a_rollout_without_settings_is_watched_by_the_defaults():
    watch = measurement_of(BODY, STATE)

    assert watch.key == MeasurementKey(CANARY, 3, 1, 20)
    assert (watch.stable, watch.model, watch.interval_seconds) == (STABLE, "demo", 60)
    assert (watch.by_gateway, watch.source, watch.verifies, watch.probes) == (False, MetricsSource.AUTO, False, False)
    assert (watch.contract, watch.golden, watch.queries) == (ContractPolicy.ENFORCE, None, ())


def test_the_plan_that_the_rollout_began_with_counts_and_not_the_spec_of_today():
    plan = {"analysis": {"interval": "10s", "queries": [{"name": "q", "query": "up", "max": 1}]}}
    body = {**BODY, "spec": {**BODY["spec"], "rollout": {"canary": {"analysis": {"interval": "30s"}}}}}
    watch = measurement_of(body, but(STATE, plan={**plan, "verification": {"golden": {"configMapName": "g"}}}))

    assert (watch.interval_seconds, [query.name for query in watch.queries], watch.probes) == (10, ["q"], True)


def test_the_models_own_name_and_the_source_of_latencies_are_the_specs():
    spec = {
        "model": {"name": "resnet"},
        "metrics": {"source": "Gateway"},
        "traffic": {"gateway": {"parentRefs": [{"name": "g"}]}},
    }
    watch = measurement_of({**BODY, "spec": spec}, STATE)

    assert (watch.model, watch.source, watch.by_gateway) == ("resnet", MetricsSource.GATEWAY, True)


@pytest.mark.parametrize("phase", Phase)
def test_every_canary_with_traffic_is_monitored_before_the_promotion(phase):
    steps = {Phase.SHIFTING, Phase.ANALYZING, Phase.AWAITING_APPROVAL}
    between = {Phase.PROVISIONING, Phase.WAITING_FOR_CAPACITY, Phase.HELD, Phase.STABLE_LOST}

    found = measurement_of(BODY, but(STATE, phase=phase))

    assert (found is not None) == (phase in steps | between)


@pytest.mark.parametrize("phase", Phase)
def test_before_traffic_stable_is_watched_while_the_canary_starts(phase):
    state = but(STATE, phase=phase, applied_weight=0, plan={"analysis": {"queries": []}})
    found = measurement_of(BODY, state)

    early = {Phase.ADMITTING, Phase.PROVISIONING, Phase.WAITING_FOR_CAPACITY, Phase.VERIFYING}
    assert (found is not None) == (phase in early)
    if found is not None:
        assert (found.opens_seconds, found.queries) == (after(0), ())
        assert found.verifies == (phase is Phase.VERIFYING)


def test_a_promoted_revision_is_watched_while_the_previous_one_is_retained():
    state = State(Phase.STABLE, START, stable=CANARY, attempts=3, standby=Standby(STABLE, START + timedelta(minutes=9)))
    found = measurement_of(BODY, state)

    assert (found.key, found.stable) == (MeasurementKey(CANARY, 3, -1, 100), STABLE)
    assert (found.opens_seconds, found.alone, found.probes) == (after(0), True, False)
    assert measurement_of(BODY, replace(state, standby=None)) is None


def test_who_was_verified_is_not_asked_again():
    state = but(STATE, phase=Phase.VERIFYING, applied_weight=0, verified=True)

    assert not measurement_of(BODY, state).verifies


@pytest.mark.parametrize("state", [but(STATE, stable=""), but(STATE, attempt=None)])
def test_without_two_revisions_there_is_nothing_to_see(state):
    assert measurement_of(BODY, state) is None


def test_the_warm_up_counts_from_the_step_or_from_the_last_shift_whichever_came_later():
    shifted = TransitionRecord(START + timedelta(seconds=30), Phase.SHIFTING, Phase.ANALYZING, "", "")
    resumed = TransitionRecord(START + timedelta(seconds=99), Phase.HELD, Phase.ANALYZING, "", "")

    state = but(STATE, entered_at=resumed.at)

    assert measurement_of(BODY, state).opens_seconds == after(60)
    assert measurement_of(BODY, but(state, history=(resumed, shifted))).opens_seconds == after(90)
    early = replace(shifted, at=START - timedelta(seconds=30))
    assert measurement_of(BODY, but(state, history=(early,))).opens_seconds == after(60)


def test_a_shift_by_a_clock_that_was_ahead_counts_no_later_than_what_followed():
    ahead = TransitionRecord(START + timedelta(hours=1), Phase.SHIFTING, Phase.ANALYZING, "", "")
    state = but(STATE, entered_at=START + timedelta(seconds=5), history=(ahead,))

    assert measurement_of(BODY, state).opens_seconds == after(65)


@pytest.mark.parametrize(("last", "opens"), [(None, 60), (after(45), 60), (after(400), 400)])
def test_no_window_begins_before_the_last_one_that_was_judged_has_ended(last, opens):
    assert measurement_of(BODY, but(STATE, analysis=Progress(last_end_seconds=last))).opens_seconds == after(opens)


@given(st.integers(0, 100), st.integers(0, 50), st.integers(0, 50), st.booleans())
def test_the_share_is_between_nothing_and_everything_and_exact_where_a_gateway_splits(weight, canary, stable, gateway):
    spec = {**BODY["spec"], **({"traffic": {"gateway": {"parentRefs": [{"name": "g"}]}}} if gateway else {})}
    state = but(STATE, phase=Phase.PROVISIONING, applied_weight=weight)
    watch = measurement_of({**BODY, "spec": spec}, state)

    share = watch.desired_share(canary, stable)

    assert 0 <= share <= 1
    if gateway or weight in (0, 100):
        assert share == weight / 100
    elif canary + stable:
        assert share == canary / (canary + stable)
    assert watch.alone == (weight == 100)
