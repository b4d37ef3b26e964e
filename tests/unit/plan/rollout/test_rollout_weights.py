"""Which weight the ready pods carry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plan.rollout.stage import NEW, OLD, context, running, seen, track
from tritonfleet.plan.rollout import Phase
from tritonfleet.plan.rollout.sizing import can_serve, min_ready, pods_for_weight, reachable_weight


@pytest.mark.parametrize(
    ("weight", "pods", "needed"),
    [(0, 4, 0), (1, 4, 1), (25, 4, 1), (26, 4, 2), (50, 4, 2), (100, 4, 4), (33, 3, 1), (67, 3, 2), (100, 300, 300)],
)
def test_a_weight_needs_its_share_of_the_pods(weight, pods, needed):
    assert pods_for_weight(weight, pods) == needed


@given(st.integers(0, 100), st.integers(1, 1000))
def test_both_sides_together_need_all_the_pods_but_for_half_a_one_each(weight, pods):
    both = pods_for_weight(weight, pods) + pods_for_weight(100 - weight, pods)

    assert pods - 1 <= both <= pods + 1


@given(st.integers(1, 99), st.integers(1, 100))
def test_the_whole_percent_nearest_to_a_number_of_pods_needs_no_more_than_those(ready, pods):
    ready = min(ready, pods)

    assert pods_for_weight(round(100 * ready / pods), pods) <= ready


def test_in_place_promises_one_pod_less_and_recreate_promises_none():
    assert min_ready(running(Phase.ANALYZING)) == 4
    assert min_ready(running(Phase.ANALYZING, mode="InPlace", surge=0)) == 3
    assert min_ready(running(Phase.ANALYZING, mode="Recreate", surge=0)) == 0


def test_no_weight_goes_to_a_canary_without_a_ready_pod_in_any_mode():
    for mode, surge in (("Surge", 4), ("InPlace", 0), ("Recreate", 0)):
        state = running(Phase.PROVISIONING, mode=mode, surge=surge)
        assert reachable_weight(context(state, seen(new=track(0, existing=1))), 100) == 0


def test_no_weight_goes_to_the_canary_while_stable_is_too_small_for_the_rest():
    assert reachable_weight(context(running(Phase.PROVISIONING), seen(old=3, new=1)), 10) == 0


def test_the_weight_goes_as_far_as_the_pods_that_are_ready():
    assert reachable_weight(context(running(Phase.PROVISIONING), seen(old=4, new=2)), 100) == 50


def test_on_the_way_to_everything_a_stable_that_is_gone_keeps_nothing():
    state = running(Phase.PROVISIONING, weight=50, applied_weight=50)

    assert reachable_weight(context(state, seen(old=0, new=2)), 100) == 100
    assert reachable_weight(context(state, seen(old=1, new=2)), 100) == 50
    assert reachable_weight(context(state, seen(old=0, new=2)), 75) == 50


def test_the_weight_falls_as_far_as_stable_carries_it():
    state = running(Phase.ROLLING_BACK, weight=100, applied_weight=100)

    assert reachable_weight(context(state, seen(old=1, new=4)), 0) == 75
    assert reachable_weight(context(state, seen(old=4, new=4)), 0) == 0


def test_nothing_falls_to_a_stable_that_is_not_there():
    state = running(Phase.ROLLING_BACK, weight=100, applied_weight=100)

    assert reachable_weight(context(state, seen(old=0, new=4)), 0) == 100


def test_an_overloaded_stable_is_better_than_a_dead_canary():
    state = running(Phase.ROLLING_BACK, weight=50, applied_weight=50)

    assert reachable_weight(context(state, seen(old=1, new=track(0, existing=2))), 0) == 0


COUNTS = st.integers(0, 8)


@given(COUNTS, COUNTS, st.integers(0, 100), st.integers(0, 100), st.sampled_from([("Surge", 2), ("InPlace", 0)]))
def test_no_step_upwards_ends_beyond_what_both_sides_carry_while_both_are_there(old, new, applied, goal, mode):
    state = running(Phase.PROVISIONING, mode=mode[0], surge=mode[1], weight=applied, applied_weight=applied)
    inputs = seen(old=old, new=new)
    reached = reachable_weight(context(state, inputs), goal)

    assert min(applied, goal) <= reached <= max(applied, goal)
    assert reached <= applied or can_serve(context(state, inputs), reached) or (goal == 100 and old == 0 < new)


@given(COUNTS, COUNTS, st.integers(1, 100))
def test_no_step_downwards_goes_to_pods_that_are_not_ready_unless_those_left_are_gone(old, new, applied):
    state = running(Phase.ROLLING_BACK, weight=applied, applied_weight=applied)
    inputs = seen(old=old, new=new)
    reached = reachable_weight(context(state, inputs), 0)
    moved = reached < applied

    assert not moved or old >= pods_for_weight(100 - reached, 4) or new < pods_for_weight(applied, 4)
    assert not moved or old > 0
    assert inputs.revisions[OLD].ready == old
    assert inputs.revisions[NEW].ready == new
