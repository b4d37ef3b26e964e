"""What is pinned when a rollout begins, and what its steps are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plan.rollout.stage import plan, policy, running
from tritonfleet.api.canary import Canary
from tritonfleet.api.rollout import Rollout
from tritonfleet.plan.rollout import Phase
from tritonfleet.plan.rollout.sizing import canary_pods, snapshot_plan, without_analysis, without_steps


def weights(state):
    return [step.weight for step in state.attempt.steps]


def test_the_last_step_is_always_everything():
    assert weights(running(Phase.STABLE, plan=plan(10, 50))) == [10, 50, 100]
    assert weights(running(Phase.STABLE, plan=plan(10, 100))) == [10, 100]
    assert weights(running(Phase.STABLE, plan={})) == [100]


def test_recreate_has_no_step_before_everything_for_nothing_is_left_to_compare():
    assert weights(running(Phase.STABLE, plan=plan(10, 50), mode="Recreate")) == [100]


def test_a_step_beyond_the_last_is_the_last():
    state = running(Phase.STABLE, plan=plan(10), step=7)

    assert (state.attempt.current_step.weight, state.attempt.is_last_step) == (100, True)


def test_a_plan_is_kept_as_it_was_written_and_read_back_the_same():
    wanted = policy(10, 50)

    assert snapshot_plan(wanted) == wanted.canary


def test_a_plain_recreate_asks_nothing_and_has_a_bake_time():
    found = snapshot_plan(Rollout.model_validate({"strategy": "Recreate"}))

    assert (found.steps, found.analysis.bake_time, found.verification.contract) == ((), "10m", "Off")


@pytest.mark.parametrize(("straight", "bake_time"), [(without_steps, "20s"), (without_analysis, "0s")])
def test_straight_keeps_the_questions_and_drops_the_steps(straight, bake_time):
    verification = {"contract": "Warn", "golden": {"configMapName": "golden"}}
    found = straight(Canary.model_validate(plan(10, 50, verification=verification)))

    assert (found.steps, found.analysis.bake_time) == ((), bake_time)
    assert found.verification == Canary.model_validate(plan(verification=verification)).verification


@pytest.mark.parametrize(
    ("weight", "replicas", "surge", "by_gateway", "pods"),
    [
        (10, 4, 4, True, 1),
        (50, 4, 4, True, 2),
        (51, 4, 4, True, 3),
        (100, 4, 0, True, 4),
        (99, 4, 0, True, 3),
        (50, 4, 4, False, 4),
        (50, 4, 1, False, 2),
        (20, 4, 1, False, 1),
        (25, 4, 0, False, 1),
    ],
)
def test_a_weight_gives_the_canary_its_share_of_the_pods(weight, replicas, surge, by_gateway, pods):
    assert canary_pods(weight, replicas, surge, by_gateway=by_gateway) == pods


@given(st.integers(1, 99), st.integers(1, 50), st.integers(0, 50), st.booleans())
def test_a_canary_has_a_pod_and_leaves_one_to_stable(weight, replicas, surge, by_gateway):
    surge = min(surge, replicas) or int(replicas == 1)
    pods = canary_pods(weight, replicas, surge, by_gateway=by_gateway)

    assert 1 <= pods <= replicas + surge - 1
