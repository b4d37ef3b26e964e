"""Canary against stable on everything a step has seen."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tritonfleet.api.canary import ErrorMargin
from tritonfleet.plan.rollout.analysis.proportions import RequestCounts, ShareEvidence, compare

MARGIN = ErrorMargin(ratio=1.5, difference=0.2)
TALLIES = st.integers(1, 5000).flatmap(lambda of: st.builds(RequestCounts, st.integers(0, of), st.just(of)))


def p_value(canary, stable, ratio=1.0):
    return compare(ShareEvidence(canary, stable), MARGIN).p_ratio(ratio)


def test_three_seeds_of_dodder_against_none_are_one_in_eight():
    # Krishnamoorthy and Thomson (2004), the example of Przyborowski and Wilenski (1940): conditional test, p = 0.125.
    assert p_value(RequestCounts(3, 100), RequestCounts(0, 100)) == pytest.approx(0.125)


def test_the_ratio_has_the_confidence_limits_published_for_two_poisson_rates():
    # R's manual of poisson.test: 11 in 800 against 21 in 3011, 95% interval of the ratio 0.8584264 to 4.2772659.
    assert p_value(RequestCounts(11, 800), RequestCounts(21, 3011), 0.8584264) == pytest.approx(0.025, abs=1e-7)
    assert p_value(RequestCounts(12, 800), RequestCounts(20, 3011), 4.2772659) == pytest.approx(0.975, abs=1e-7)


def test_without_requests_nothing_is_significant_and_nothing_beyond():
    for canary, stable in ((RequestCounts(), RequestCounts(5, 100)), (RequestCounts(5, 100), RequestCounts())):
        assert p_value(canary, stable) == 1
    assert not compare(ShareEvidence(RequestCounts(), RequestCounts(5, 100)), MARGIN).is_beyond
    assert compare(ShareEvidence(), MARGIN).p_limit(0.01) == 1


def test_a_canary_must_exceed_both_margins():
    stable = RequestCounts(10, 2000)
    assert not compare(ShareEvidence(RequestCounts(15, 2000), stable), MARGIN).is_beyond  # 1.5 times, 0.25 pp
    assert compare(ShareEvidence(RequestCounts(16, 2000), stable), MARGIN).is_beyond
    rare = RequestCounts(1, 10_000)
    assert not compare(ShareEvidence(RequestCounts(20, 10_000), rare), MARGIN).is_beyond  # 20 times, 0.19 pp
    assert compare(ShareEvidence(RequestCounts(22, 10_000), rare), MARGIN).is_beyond


@given(TALLIES, TALLIES, st.integers(0, 50))
def test_more_errors_of_the_canary_never_look_better(canary, stable, more):
    assume(canary.bad + more <= canary.requests)
    worse = RequestCounts(canary.bad + more, canary.requests)

    assert p_value(worse, stable) <= p_value(canary, stable) + 1e-9
    assert (
        compare(ShareEvidence(worse, stable), MARGIN).is_beyond
        >= compare(ShareEvidence(canary, stable), MARGIN).is_beyond
    )


@given(TALLIES, TALLIES, st.integers(0, 50))
def test_more_errors_of_stable_never_make_the_canary_look_worse(canary, stable, more):
    assume(stable.bad + more <= stable.requests)

    assert p_value(canary, RequestCounts(stable.bad + more, stable.requests)) >= p_value(canary, stable) - 1e-9


@given(TALLIES, TALLIES)
def test_swapped_revisions_are_never_both_worse(one, other):
    assert p_value(one, other) + p_value(other, one) >= 1 - 1e-9
    both = compare(ShareEvidence(one, other), MARGIN).is_beyond and compare(ShareEvidence(other, one), MARGIN).is_beyond
    assert not both


@given(TALLIES)
def test_equal_revisions_are_never_worse(tally):
    assert not compare(ShareEvidence(tally, tally), MARGIN).is_beyond
    assert p_value(tally, tally) >= 0.5
