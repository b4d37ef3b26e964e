"""The threshold rules that the analysis is compared with do what their documentation says."""

import numpy as np
import pytest

from benchmarks.analysis import ours
from benchmarks.analysis.draw import BOUNDS_SECONDS, HISTORY, Draw, draw
from benchmarks.analysis.rules import ARGO, ARGO_STRICT, FLAGGER, RULES
from benchmarks.analysis.scenarios import FIVE, NO_CHANGE, TRAFFICS

GOOD, BAD = 1, 3  # of 200 requests: 0.5% and 1.5%


def history(*errors, windows=30):
    """Return one run whose canary had these errors, and then none."""
    drawn = np.zeros((1, HISTORY + windows, 2), dtype=np.int64)
    drawn[0, HISTORY : HISTORY + len(errors), 0] = errors
    return Draw(np.full_like(drawn, 200), drawn, None)


def test_flagger_rolls_back_in_the_interval_after_the_fifth_failed_check():
    fates = FLAGGER.decide(history(BAD, GOOD, BAD, BAD, GOOD, BAD, BAD))

    assert (fates.rolled_back.tolist(), fates.look.tolist()) == ([True], [8])


def test_flagger_promotes_after_ten_checks_that_hold_however_long_that_takes():
    fates = FLAGGER.decide(history(BAD, BAD, BAD, BAD))

    assert (fates.promoted.tolist(), fates.look.tolist()) == ([True], [14])


def test_argo_forgives_as_many_failed_measurements_as_its_limit_says():
    assert ARGO_STRICT.decide(history(BAD, BAD, BAD)).look.tolist() == [10]
    fates = ARGO_STRICT.decide(history(BAD, BAD, BAD, GOOD, BAD))

    assert (fates.rolled_back.tolist(), fates.look.tolist()) == ([True], [5])


def test_argo_promotes_after_ten_measurements_even_if_later_ones_would_fail():
    assert ARGO_STRICT.decide(history(*[GOOD] * 10, *[BAD] * 10)).promoted.tolist() == [True]


@pytest.mark.parametrize(("errors", "promoted"), [(10, True), (11, False)])
def test_argos_documented_threshold_is_five_percent(errors, promoted):
    assert ARGO.decide(history(*[errors] * 10)).promoted.tolist() == [promoted]


@pytest.mark.parametrize("rule", RULES)
def test_a_canary_without_requests_fails_its_checks(rule):
    idle = history()
    idle.requests[:, :, 0] = 0

    assert rule.decide(idle).rolled_back.tolist() == [True]


@pytest.mark.parametrize(("slow", "promoted"), [(2, True), (3, False)])
def test_a_p99_beyond_half_a_second_fails_a_check(slow, promoted):
    drawn = history()
    buckets = np.full((1, HISTORY + 30, 2, len(BOUNDS_SECONDS)), 200)
    buckets[..., :3] = 200 - slow  # up to 0.5 s

    assert FLAGGER.decide(Draw(drawn.requests, drawn.errors, buckets)).promoted.tolist() == [promoted]


def test_the_same_seed_draws_the_same_requests():
    first, second = (draw(FIVE, TRAFFICS[0], 30, 3, np.random.default_rng(1)) for _ in range(2))

    assert (first.errors == second.errors).all()


def test_ours_tells_a_bad_canary_from_a_good_one():
    for scenario, rolled_back in ((NO_CHANGE, False), (FIVE, True)):
        fates = ours.decide(draw(scenario, TRAFFICS[1], 30, 5, np.random.default_rng(1)))
        assert fates.rolled_back.tolist() == [rolled_back] * 5
        assert fates.promoted.tolist() == [not rolled_back] * 5
