"""What is pinned when a rollout begins, and what its steps are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plan.rollout.stage import plan, policy, running
from tritonfleet.api.canary import Analysis
from tritonfleet.api.rollout import Rollout
from tritonfleet.api.slo import Slo
from tritonfleet.plan.rollout import Phase, is_last, plan_of, step_of, steps_of
from tritonfleet.plan.rollout.analysis import (
    AnalysisPolicy,
    LatencyObjective,
    Margin,
    OnTooFewRequests,
    analysis_policy,
)
from tritonfleet.plan.rollout.sizing import canary_pods, snapshot_plan, without_steps


def weights(state):
    return [step.weight for step in steps_of(state)]


def test_the_last_step_is_always_everything():
    assert weights(running(Phase.STABLE, plan=plan(10, 50))) == [10, 50, 100]
    assert weights(running(Phase.STABLE, plan=plan(10, 100))) == [10, 100]
    assert weights(running(Phase.STABLE, plan={})) == [100]


def test_recreate_has_no_step_before_everything_for_nothing_is_left_to_compare():
    assert weights(running(Phase.STABLE, plan=plan(10, 50), mode="Recreate")) == [100]


def test_a_step_beyond_the_last_is_the_last():
    state = running(Phase.STABLE, plan=plan(10), step=7)

    assert (step_of(state).weight, is_last(state)) == (100, True)


def test_a_plan_is_kept_as_it_was_written_and_read_back_the_same():
    wanted = policy(10, 50)

    assert plan_of(snapshot_plan(wanted)) == wanted.canary


def test_a_plain_recreate_asks_nothing_and_waits_for_nothing():
    found = plan_of(snapshot_plan(Rollout.model_validate({"strategy": "Recreate"})))

    assert (found.steps, found.analysis.bake_time, found.verification.contract) == ((), "0s", "Off")


def test_straight_keeps_the_questions_and_drops_steps_and_bake():
    verification = {"contract": "Warn", "golden": {"configMapName": "golden"}}
    found = plan_of(without_steps(plan(10, 50, verification=verification)))

    assert (found.steps, found.analysis.bake_time) == ((), "0s")
    assert found.verification == plan_of(plan(verification=verification)).verification


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


def test_what_the_spec_leaves_out_is_what_has_measured_error_rates():
    assert analysis_policy(Analysis(), None) == AnalysisPolicy()


def test_percent_of_the_spec_are_shares_of_the_analysis():
    slo = Slo.model_validate({"latency": {"percentile": 99.9, "target": "50ms"}})
    analysis = Analysis.model_validate(
        {
            "errorRate": {"ratio": 2, "difference": 1},
            "maxErrorRate": 3,
            "bakeTime": "2m",
            "onTooFewRequests": "PassOnProbe",
            "minRequests": 10,
        }
    )
    found = analysis_policy(analysis, slo)

    assert (found.error_margin, found.error_limit) == (Margin(2, 0.01), 0.03)
    assert found.latency == LatencyObjective(0.05, 0.001)
    assert (found.bake_seconds, found.on_too_few) == (120, OnTooFewRequests.ON_PROBE)
    assert (found.min_requests, found.min_slow_requests) == (10, 20)


def test_a_query_with_both_limits_is_held_to_both():
    queries = [
        {"name": "both", "query": "a", "max": 5, "min": 1},
        {"name": "ratio", "query": "a", "baseline": "b", "maxRatio": 2},
    ]
    low, high, ratio = sorted(
        analysis_policy(Analysis.model_validate({"queries": queries}), None).thresholds,
        key=lambda threshold: (threshold.name, threshold.above_is_bad),
    )

    assert (low.key, low.limit, low.above_is_bad) == ("both/min", 1, False)
    assert (high.key, high.limit, high.above_is_bad) == ("both", 5, True)
    assert (ratio.limit, ratio.max_ratio) == (None, 2)
