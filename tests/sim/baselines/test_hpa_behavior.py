"""Rates and stabilization against the tables of Kubernetes' pkg/controller/podautoscaler/horizontal_test.go."""

import pytest

from tritonfleet.sim.baselines import DEFAULT_BEHAVIOR, Behavior, Governor, Percent, Pods, ScalingRules, Select

NOW = 100_000.0
DAY = 86400.0


def rules(pods=None, percent=None, select=Select.MAX, window=0.0):
    policies: list[Pods | Percent] = [Pods(*pods)] if pods else []
    policies += [Percent(*percent)] if percent else []
    return ScalingRules(tuple(policies), select, window)


def spread(changes, seconds):
    """Place changes in the middles of equal parts of the last `seconds`: generateEventsUniformDistribution."""
    part = seconds / len(changes)
    return [(NOW - int(seconds - part * (index + 0.5)), change) for index, change in enumerate(changes)]


@pytest.mark.parametrize(
    ("upstream", "current", "wanted", "bounds", "policy", "before", "allowed"),
    [
        ("prenormalized desired replicas within range", 5, 7, (3, 8), None, (), 7),
        ("maxReplicas is the limit", 20, 1000, (1, 30), None, (), 30),
        ("scaleUpLimit is the limit", 3, 1000, (1, 2000), rules(percent=(1, 60)), (), 4),
        ("scaleUp with default behavior", 10, 50, (1, 1000), None, (), 20),
        ("pods policy larger than percent policy", 10, 500, (1, 1000), rules((100, 60), (100, 60)), (), 110),
        ("percent policy larger than pods policy", 10, 500, (1, 1000), rules((2, 60), (100, 60)), (), 20),
        ("large pod policy", 10, 50, (1, 1000), rules((100, 60)), (), 50),
        ("pod policy limitation", 10, 50, (1, 1000), rules((30, 60)), (), 40),
        ("percent policy limitation", 10, 50, (1, 1000), rules(percent=(200, 60)), (), 30),
        ("large pod policy and events", 100, 500, (1, 200), rules((300, 60)), (1, 5, 9), 200),
        ("large percent policy and events", 100, 500, (1, 200), rules(percent=(10000, 60)), (1, 5, 9), 200),
        ("a lot of recent scale up events", 100, 500, (1, 1000), rules((5, 120)), (1, 5, 9), 100),
        ("pod policy and previous scale up events", 100, 500, (1, 1000), rules((150, 120)), (1, 5, 9), 235),
        ("percent policy and previous scale up events", 100, 500, (1, 1000), rules(percent=(200, 120)), (1, 5, 9), 255),
        ("not outdated for two policies", 100, 200, (1, 1000), rules((1000, 120), (100, 60)), (8, 12, 9, 11), 200),
        ("TestCalculateScaleUpLimitWithScalingRules", 1, 99, (1, 99), rules((2, 60), (50, 60), Select.MIN), (), 2),
    ],
)
def test_growth_keeps_to_the_upstream_table(upstream, current, wanted, bounds, policy, before, allowed):
    """TestScalingWithRules, "scaleUp"."""
    behavior = Behavior(up=policy or DEFAULT_BEHAVIOR.up)
    governor = Governor(behavior, *bounds, changes=spread(before, 120) if before else [])
    assert governor.limit(NOW, current, wanted) == allowed


@pytest.mark.parametrize(
    ("upstream", "current", "wanted", "least", "policy", "before", "allowed"),
    [
        ("desired replicas < minReplicas", 3, 1, 2, None, (), 2),
        ("within range when minReplicas is 0", 1, 0, 0, None, (), 0),
        ("user defined policies", 1000, 3, 3, rules((20, 60)), (), 980),
        ("pod policy larger than percent policy", 100, 2, 1, rules((20, 60), (1, 60)), (), 80),
        ("percent and pod policy alike", 100, 2, 1, rules((2, 60), (1, 60)), (), 98),
        ("minReplicas limitation with large pod policy", 10, 0, 1, rules((100, 60)), (), 1),
        ("minReplicas limitation with large percent policy", 10, 2, 5, rules(percent=(100, 60)), (), 5),
        ("pod policy limitation", 10, 2, 1, rules((5, 60)), (), 5),
        ("percent policy limitation", 10, 5, 1, rules(percent=(50, 60)), (), 5),
        ("default policy and previous events", 10, 5, 1, None, (1, 5, 9), 5),
        ("large pod policy and previous events", 100, 0, 5, rules((130, 120)), (1, 5, 9), 5),
        ("pod policy limitation and previous events", 100, 2, 1, rules((5, 120)), (1, 5, 9), 100),
        ("percent policy limitation and previous events", 100, 0, 1, rules(percent=(50, 120)), (2, 4, 6), 56),
        ("previous events preventing further scale down", 100, 0, 1, rules(percent=(10, 120)), (10, 10, 10), 100),
        ("previous events still allowing more", 10, 5, 1, rules(percent=(1000, 120)), (10, 10, 10), 5),
        ("TestCalculateScaleDownLimitWithBehaviors", 5, 1, 1, rules((2, 60), (50, 60), Select.MIN), (), 3),
    ],
)
def test_shrinking_keeps_to_the_upstream_table(upstream, current, wanted, least, policy, before, allowed):
    """TestScalingWithRules, "scaleDown"."""
    behavior = Behavior(down=policy or DEFAULT_BEHAVIOR.down)
    governor = Governor(behavior, least, 1000, changes=spread([-each for each in before], 120) if before else [])
    assert governor.limit(NOW, current, wanted) == allowed


def test_a_disabled_direction_does_not_move():
    governor = Governor(Behavior(up=rules((9, 60), select=Select.DISABLED)), 1, 100)
    assert governor.limit(NOW, 5, 50) == 5


@pytest.mark.parametrize(
    ("upstream", "current", "wanted", "recommended", "up_window", "down_window", "stable"),
    [
        ("empty recommendations for scaling down", 100, 5, (), 0, 0, 5),
        ("simple scale down stabilization", 100, 3, ((120, 4), (60, 5)), 0, 180, 5),
        ("simple scale up stabilization", 1, 7, ((120, 4), (60, 5)), 300, 0, 4),
        ("no scale down stabilization", 100, 3, ((120, 1), (60, 2)), 300, 0, 3),
        ("no scale up stabilization", 1, 3, ((120, 4), (60, 5)), 0, 300, 3),
        ("no scale down stabilization, reuse", 100, 3, ((600, 10), (540, 9)), 0, 0, 3),
        ("no scale up stabilization, reuse", 1, 100, ((600, 10), (540, 9)), 0, 0, 100),
        ("scale down, obsolete ones", 100, 3, ((600, 10), (60, 4), (120, 5), (540, 9)), 0, 180, 5),
        ("scale up, obsolete ones", 1, 100, ((6000, 10), (60, 6), (120, 5), (180, 9)), 300, 0, 5),
    ],
)
def test_recommendations_of_the_window_hold_the_change_back_as_upstream_does(
    upstream, current, wanted, recommended, up_window, down_window, stable
):
    """TestNormalizeDesiredReplicasWithBehavior."""
    behavior = Behavior(rules((1, 1), window=up_window), rules((1, 1), window=down_window))
    before = [(NOW - ago, replicas) for ago, replicas in recommended]
    governor = Governor(behavior, 1, 1000, recommendations=before)
    assert governor.stabilize(NOW, current, wanted) == stable


def test_the_replicas_of_the_first_look_count_as_a_recommendation():
    """TestScaleDownStabilizeInitialSize: nothing is taken away in the first five minutes."""
    governor = Governor(DEFAULT_BEHAVIOR, 1, 10)
    assert governor.adjust(0.0, 5, 3) == 5
    assert governor.adjust(299.0, 5, 3) == 5
    assert governor.adjust(300.0, 5, 3) == 3


def test_what_no_policy_can_see_any_more_is_forgotten():
    governor = Governor(DEFAULT_BEHAVIOR, 1, 10)
    for now in range(0, int(DAY), 15):
        governor.adjust(float(now), 5 + now % 2, 5 + (now + 1) % 2)
    assert len(governor.recommendations) <= 300 / 15 + 1
    assert len(governor.changes) <= 2
