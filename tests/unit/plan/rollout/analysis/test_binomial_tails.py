"""Tails of the binomial distribution, against published values and exact sums."""

from math import comb, fsum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.plan.rollout.analysis.stats import incomplete_beta, most_with_none, upper_tail


def test_the_tail_gives_the_confidence_limits_published_for_mendels_peas():
    # R's manual of binom.test, after Conover (1971), p. 97: 682 of 925, 95% interval 0.7076683 to 0.7654066.
    assert upper_tail(682, 925, 0.7076683) == pytest.approx(0.025, abs=2e-6)
    assert upper_tail(683, 925, 0.7654066) == pytest.approx(0.975, abs=2e-6)


@pytest.mark.parametrize(
    ("events", "trials", "chance"), [(3, 3, 0.5), (10, 200, 0.005), (20, 400, 0.05), (7, 400, 0.2)]
)
def test_the_tail_of_whole_counts_is_the_exact_sum(events, trials, chance):
    exact = fsum(comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(events, trials + 1))

    assert upper_tail(events, trials, chance) == pytest.approx(exact, rel=1e-9)


@given(st.floats(0.1, 500), st.floats(0.1, 500), st.floats(0.001, 0.999))
def test_the_two_halves_of_a_beta_distribution_make_one(a, b, x):
    assert incomplete_beta(a, b, x) + incomplete_beta(b, a, 1 - x) == pytest.approx(1, abs=1e-8)


@given(st.floats(0, 300), st.floats(0.5, 300), st.floats(0.001, 0.999), st.floats(0, 50))
def test_more_events_are_never_more_likely(events, others, chance, more):
    trials = events + others + more

    assert upper_tail(events + more, trials, chance) <= upper_tail(events, trials, chance) + 1e-9


@pytest.mark.parametrize(("events", "trials", "chance"), [(-1, 5, 0.5), (6, 5, 0.5), (1, 5, 1.5), (1, 5, -0.1)])
def test_counts_that_cannot_be_are_refused(events, trials, chance):
    with pytest.raises(ValueError, match=r"events must be 0\.\.trials and chance 0\.\.1"):
        upper_tail(events, trials, chance)


def test_what_is_certain_is_certain():
    assert (upper_tail(0, 5, 0.5), upper_tail(2, 5, 0), upper_tail(2, 5, 1)) == (1, 0, 1)


def test_the_rule_of_three_holds():
    # Hanley and Lippman-Hand (1983): none of n leaves about 3/n possible with 95% confidence.
    assert most_with_none(100) == pytest.approx(0.0295, abs=5e-5)
    assert most_with_none(1000) == pytest.approx(3 / 1000, rel=0.01)
    assert most_with_none(0) == 1
