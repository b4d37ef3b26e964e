"""Canary against stable on everything a step has seen."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tritonfleet.plan.rollout.analysis.comparison import compare
from tritonfleet.plan.rollout.analysis.evidence import Evidence, Tally
from tritonfleet.plan.rollout.analysis.policy import Margin

MARGIN = Margin(1.5, 0.002)
TALLIES = st.integers(1, 5000).flatmap(lambda of: st.builds(Tally, st.integers(0, of), st.just(of)))


def p_value(canary, stable, ratio=1.0):
    return compare(Evidence(canary, stable), MARGIN).p_ratio(ratio)


def test_three_seeds_of_dodder_against_none_are_one_in_eight():
    # Krishnamoorthy and Thomson (2004), the example of Przyborowski and Wilenski (1940): conditional test, p = 0.125.
    assert p_value(Tally(3, 100), Tally(0, 100)) == pytest.approx(0.125)


def test_the_ratio_has_the_confidence_limits_published_for_two_poisson_rates():
    # R's manual of poisson.test: 11 in 800 against 21 in 3011, 95 % interval of the ratio 0.8584264 to 4.2772659.
    assert p_value(Tally(11, 800), Tally(21, 3011), 0.8584264) == pytest.approx(0.025, abs=1e-7)
    assert p_value(Tally(12, 800), Tally(20, 3011), 4.2772659) == pytest.approx(0.975, abs=1e-7)


def test_without_requests_nothing_is_significant_and_nothing_beyond():
    for canary, stable in ((Tally(), Tally(5, 100)), (Tally(5, 100), Tally())):
        assert p_value(canary, stable) == 1
    assert not compare(Evidence(Tally(), Tally(5, 100)), MARGIN).is_beyond
    assert compare(Evidence(), MARGIN).p_limit(0.01) == 1


def test_a_canary_must_exceed_both_margins():
    stable = Tally(10, 2000)
    assert not compare(Evidence(Tally(15, 2000), stable), MARGIN).is_beyond  # 1.5 times, 0.25 pp
    assert compare(Evidence(Tally(16, 2000), stable), MARGIN).is_beyond
    rare = Tally(1, 10_000)
    assert not compare(Evidence(Tally(20, 10_000), rare), MARGIN).is_beyond  # 20 times, 0.19 pp
    assert compare(Evidence(Tally(22, 10_000), rare), MARGIN).is_beyond


@given(TALLIES, TALLIES, st.integers(0, 50))
def test_more_errors_of_the_canary_never_look_better(canary, stable, more):
    assume(canary.bad + more <= canary.requests)
    worse = Tally(canary.bad + more, canary.requests)

    assert p_value(worse, stable) <= p_value(canary, stable) + 1e-9
    assert compare(Evidence(worse, stable), MARGIN).is_beyond >= compare(Evidence(canary, stable), MARGIN).is_beyond


@given(TALLIES, TALLIES, st.integers(0, 50))
def test_more_errors_of_stable_never_make_the_canary_look_worse(canary, stable, more):
    assume(stable.bad + more <= stable.requests)

    assert p_value(canary, Tally(stable.bad + more, stable.requests)) >= p_value(canary, stable) - 1e-9


@given(TALLIES, TALLIES)
def test_swapped_revisions_are_never_both_worse(one, other):
    assert p_value(one, other) + p_value(other, one) >= 1 - 1e-9
    both = compare(Evidence(one, other), MARGIN).is_beyond and compare(Evidence(other, one), MARGIN).is_beyond
    assert not both


@given(TALLIES)
def test_equal_revisions_are_never_worse(tally):
    assert not compare(Evidence(tally, tally), MARGIN).is_beyond
    assert p_value(tally, tally) >= 0.5
