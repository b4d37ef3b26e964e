"""How many pods each revision gets, and that a rollout never gets stuck between too few GPUs and too few ready pods."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plan.rollout.stage import (
    CRASHING,
    NEW,
    OLD,
    THIRD,
    Pod,
    Pool,
    but,
    context,
    plan,
    policy,
    running,
    seen,
    track,
)
from tritonfleet.plan.rollout import Attempt, Phase, Standby, State, desired_rollout
from tritonfleet.plan.rollout.sizing import revision_sizes

IN_PLACE = {"mode": "InPlace", "surge": 0}


def asked(state, inputs):
    found = revision_sizes(context(state, inputs))
    return found.get(OLD), found.get(NEW)


def test_the_first_revision_is_started_at_full_size_and_gets_everything():
    state = State(attempt=Attempt(canary=NEW))

    assert revision_sizes(context(state, seen(old=None, new=0))) == {NEW: 4}
    assert desired_rollout(context(state, seen(old=None, new=0))).split == {NEW: 100}


def test_stable_follows_the_autoscaler_without_a_rollout():
    assert revision_sizes(context(State(phase=Phase.STABLE, stable=OLD, replicas=4), seen(replicas=7))) == {OLD: 7}


def test_nothing_is_served_by_a_revision_that_was_never_named():
    assert desired_rollout(context(State(), seen())).split == {}


def test_the_retained_revision_keeps_the_pods_it_has_and_gets_no_more():
    state = State(phase=Phase.STABLE, stable=NEW, standby=Standby(OLD, surge=4), replicas=4)

    assert revision_sizes(context(state, seen(old=4, new=4))) == {NEW: 4, OLD: 4}
    assert revision_sizes(context(state, seen(old=4, new=4, replicas=2))) == {NEW: 2, OLD: 2}
    assert revision_sizes(context(state, seen(old=2, new=4, replicas=8))) == {NEW: 8, OLD: 2}
    assert desired_rollout(context(state, seen(old=4, new=4))).split == {NEW: 100, OLD: 0}
    assert desired_rollout(context(state, seen(old=4, new=4))).opened == {OLD}


def test_a_suspended_rollout_has_no_pods():
    assert set(revision_sizes(context(running(Phase.ANALYZING), seen(suspended=True))).values()) == {0}


def test_with_room_the_canary_stands_beside_all_of_stable():
    assert asked(running(Phase.PROVISIONING), seen(new=0)) == (4, 1)


def test_without_room_one_pod_of_stable_goes_before_the_canary_comes():
    state = running(Phase.PROVISIONING, **IN_PLACE)
    assert asked(state, seen(old=4, new=0)) == (3, 0)
    ending = track(3, OLD, existing=4)
    assert asked(state, seen(old=ending, new=0)) == (3, 0)

    assert asked(state, seen(old=3, new=0)) == (3, 1)


def test_the_next_pod_of_stable_goes_only_when_the_weight_has_followed():
    state = running(Phase.PROVISIONING, **IN_PLACE, canary_replicas=2, plan=plan(50))
    assert asked(state, seen(old=3, new=1)) == (3, 1)

    assert asked(but(state, weight=33, applied_weight=33), seen(old=3, new=1)) == (2, 1)


def test_a_canary_pod_that_is_not_ready_for_a_moment_moves_no_pod():
    state = running(Phase.ANALYZING, **IN_PLACE, canary_replicas=2, weight=50, applied_weight=50)
    flickers = track(1, existing=2, asked=2)

    assert asked(state, seen(old=2, new=flickers)) == (2, 2)


def test_recreate_empties_stable_first():
    state = running(Phase.PROVISIONING, mode="Recreate", surge=0, canary_replicas=4)
    assert asked(state, seen(old=track(0, OLD, existing=4), new=0)) == (0, 0)

    assert asked(state, seen(old=0, new=0)) == (0, 4)


def test_a_canary_is_kept_while_it_still_carries_users():
    state = running(Phase.ROLLING_BACK, canary_replicas=2, weight=0, applied_weight=50)
    assert asked(state, seen(old=4, new=2)) == (4, 2)

    assert asked(but(state, applied_weight=0), seen(old=4, new=2)) == (4, 0)


def test_a_rollback_in_place_takes_a_canary_pod_for_every_pod_that_stable_is_to_get_back():
    state = running(Phase.ROLLING_BACK, **IN_PLACE, canary_replicas=4, weight=100, applied_weight=100)
    assert asked(state, seen(old=0, new=4)) == (0, 3)
    assert asked(state, seen(old=0, new=3)) == (1, 3)

    assert asked(but(state, weight=67, applied_weight=67), seen(old=1, new=3)) == (1, 2)


def test_a_dead_canary_gives_all_its_places_back_at_once():
    state = running(Phase.ROLLING_BACK, **IN_PLACE, canary_replicas=2, weight=0, applied_weight=50)
    dead = track(0, existing=2, asked=2, finding=CRASHING)

    assert asked(state, seen(old=2, new=dead)) == (2, 0)

    assert asked(state, seen(old=2, new=0)) == (4, 0)


def test_a_scale_out_during_a_rollout_goes_to_stable_and_takes_nothing_from_the_canary():
    state = running(Phase.ANALYZING, replicas=8)

    assert asked(state, seen(replicas=8)) == (8, 1)


MODES = st.sampled_from(["Surge", "InPlace", "Recreate"])


@st.composite
def rollouts(draw):
    replicas = draw(st.integers(1, 12))
    mode = draw(MODES if replicas > 1 else st.sampled_from(["Surge", "Recreate"]))
    surge = draw(st.integers(1, replicas)) if mode == "Surge" else 0
    weights = sorted(draw(st.sets(st.integers(1, 99), max_size=3)))
    return mode, replicas, surge, weights, draw(st.booleans())


def pool_of(drawn, **inputs):
    mode, replicas, surge, weights, by_gateway = drawn
    wanted = policy(*weights, verification={"contract": "Off"}, capacity=capacity(mode, surge), **inputs)
    given_facts = seen(policy=wanted, replicas=replicas, by_gateway=by_gateway, gpus_per_pod=0)
    state = State(phase=Phase.STABLE, stable=OLD, replicas=replicas)
    return Pool(state, given_facts, replicas + surge, [Pod(OLD, 9) for _ in range(replicas)])


def capacity(mode, surge):
    return {"mode": mode, "maxSurge": surge} if mode == "Surge" else {"mode": mode}


@settings(max_examples=40, deadline=None)
@given(rollouts())
def test_every_rollout_ends_with_the_new_revision_within_its_room_and_above_its_floor(drawn):
    pool = pool_of(drawn)
    while pool.state.stable != NEW:
        pool.tick()
        assert pool.ticks < 600, (pool.state.phase, pool.state.message)

    assert len(pool.ready(NEW)) == pool.state.replicas


def test_a_pod_that_is_still_ending_is_not_replaced_before_it_is_gone():
    state = running(Phase.ROLLING_BACK, **IN_PLACE, weight=0, applied_weight=0)

    assert asked(state, seen(old=track(3, OLD, existing=4), new=0)) == (3, 0)


@settings(max_examples=40, deadline=None)
@given(rollouts(), st.integers(1, 60))
def test_every_rollout_can_be_rolled_back_at_any_time_within_its_surge_and_minimum(drawn, when):
    pool = pool_of(drawn)
    while pool.ticks < when and pool.state.stable != NEW:
        pool.tick()
    pool.inputs = replace(pool.inputs, target=OLD)
    for _ in range(200):
        pool.tick()

    assert (pool.state.phase, pool.state.stable, pool.state.rejected) == (Phase.STABLE, OLD, ())
    assert len(pool.ready(OLD)) == pool.state.replicas
    assert not pool.ready(NEW)


@settings(max_examples=30, deadline=None)
@given(rollouts(), st.integers(1, 40))
def test_a_third_revision_takes_over_from_any_moment(drawn, when):
    pool = pool_of(drawn)
    while pool.ticks < when:
        pool.tick()
    pool.inputs = replace(pool.inputs, target=THIRD)
    while pool.state.stable != THIRD:
        pool.tick()
        assert pool.ticks < 900, (pool.state.phase, pool.state.message)

    assert pool.state.rejected == ()


@pytest.mark.parametrize("weights", [(), (50,), (10, 25, 50), (99,)])
def test_four_gpus_that_are_all_taken_are_enough_in_place(weights):
    pool = pool_of(("InPlace", 4, 0, weights, True))
    fewest = 4
    while pool.state.stable != NEW:
        pool.tick()
        fewest = min(fewest, len(pool.ready(OLD)) + len(pool.ready(NEW)))
        assert len(pool.pods) <= 4
        assert pool.ticks < 300

    assert fewest == 3
