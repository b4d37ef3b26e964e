"""Bursts that come back at a minute are met with ready replicas, and neither noise nor a new level is taken for one."""

import json
import random

import pytest

from tritonfleet.plan.autoscale import (
    Bursts,
    Growth,
    History,
    learn_history,
    startup_of,
    update_bursts,
    update_growth,
)
from tritonfleet.plan.autoscale.demand import Readiness

HOUR, STEP = 3600, 10
SLOW_START = 300.0


def live(bursts, hours, *, minutes=(2, 32), size=3.0, lasting=90, usual=100.0, since=0):
    """Play hours of a steady rate that is `size` times as high for `lasting` seconds from those minutes on."""
    recent = [usual] * 3
    for second in range(since, since + int(hours * HOUR), STEP):
        into = min((second - minute * 60) % HOUR for minute in minutes) if minutes else HOUR
        recent = [*recent[1:], usual * size if into < lasting else usual]
        bursts = update_bursts(bursts, recent[-1], sum(recent) / 3, STEP, 1.0, float(second), SLOW_START)
    return bursts


def standing_by(bursts, at_minute, highest=1000.0):
    return bursts.expected_rate(at_minute * 60.0, SLOW_START, highest)


def test_one_burst_is_enough_to_stand_by_at_its_minute_of_the_next_half_hour():
    bursts = live(Bursts(), 0.25, minutes=(2,))
    assert len(bursts.bursts) == 1
    assert standing_by(bursts, 32 - 5) == pytest.approx(300.0, rel=0.1)
    assert standing_by(bursts, 20) is None


def test_pods_are_asked_for_a_start_ahead_of_the_minute_and_let_go_a_minute_after_it():
    bursts = live(Bursts(), 5)
    before = SLOW_START / 60 + 0.5
    assert standing_by(bursts, 302 - before - 1.2) is None
    assert standing_by(bursts, 302 - before + 0.1) is not None
    assert standing_by(bursts, 303.9) is not None
    assert standing_by(bursts, 305.1) is None


def test_nothing_is_expected_beyond_the_highest_rate_that_was_ever_seen():
    bursts = live(Bursts(), 5)
    assert standing_by(bursts, 301, highest=200.0) == pytest.approx(220.0)


def test_bursts_that_stopped_coming_are_no_longer_waited_for():
    bursts = live(live(Bursts(), 5), 40, minutes=(), since=5 * HOUR)
    assert standing_by(bursts, 45 * 60 + 1) is None


def test_bursts_at_any_minute_are_waited_for_at_none():
    chance = random.Random(3)
    bursts = Bursts()
    for hour in range(24):
        bursts = live(bursts, 1, minutes=tuple(chance.sample(range(0, 60, 3), 3)), since=hour * HOUR)
    standing = sum(standing_by(bursts, 24 * 60 + minute) is not None for minute in range(60))
    assert standing < 50


def test_a_level_that_stays_is_the_new_usual_one_and_no_burst():
    bursts = live(Bursts(), 1, minutes=(10,), lasting=50 * 60)
    assert bursts.bursts == ()
    assert bursts.usual == pytest.approx(300.0, rel=0.1)


def test_a_burst_does_not_become_usual():
    assert live(Bursts(), 1, size=20.0).usual < 130.0


def test_a_few_requests_by_chance_are_no_burst():
    chance = random.Random(5)
    bursts, recent = Bursts(), [0.8] * 3
    for second in range(0, 6 * HOUR, STEP):
        count = sum(chance.random() < 0.08 for _ in range(100))
        recent = [*recent[1:], count / STEP]
        bursts = update_bursts(bursts, recent[-1], sum(recent) / 3, STEP, 1.0, float(second), SLOW_START)
    assert bursts.bursts == ()


def test_bursts_survive_their_document():
    bursts = live(Bursts(), 5)
    again = live(Bursts.restore(json.loads(json.dumps(bursts.document()))), 0.03, minutes=(), since=5 * HOUR)
    assert standing_by(again, 332) == pytest.approx(standing_by(bursts, 332), rel=0.05)


def test_a_day_of_history_teaches_what_a_day_of_traffic_would():
    rates = tuple(300.0 if second % HOUR // 60 == 2 else 100.0 for second in range(0, 24 * HOUR, 30))
    rates = (*rates[:500], float("nan"), *rates[501:])
    growth, bursts = learn_history(Growth(), Bursts(), History(0.0, 30.0, rates), startup_of(Readiness(), (), 0.0), 1.0)
    assert bursts.usual == pytest.approx(100.0, rel=0.1)
    assert bursts.expected_rate(24 * HOUR + 60.0, 60.0, growth.highest) == pytest.approx(300.0, rel=0.1)
    assert growth.highest == pytest.approx(300.0, rel=0.1)
    assert growth.steps == ()


def test_replicas_go_up_before_the_minute_and_down_after_it_without_a_burst(new_fleet):
    fleet = new_fleet(4)
    fleet.now = 1_700_000_000.0 - 1_700_000_000.0 % HOUR
    for hour in range(3):
        for second in range(0, HOUR, 5):
            burst = second // 60 == 30 and hour < 2
            fleet.tick(400.0 if burst else 100.0)
    asked = [verdict.replicas for verdict in fleet.verdicts[-720:]]
    assert max(asked[345:375]) >= 7
    assert max(asked[60:320]) <= 5
    assert asked[450] <= 5


def test_a_horizon_in_which_a_burst_began_says_nothing_about_growth():
    growth, bursts = Growth(), Bursts()
    startup = startup_of(Readiness(), (), 0.0)
    for second in range(0, 2 * HOUR, STEP):
        rate = 400.0 if second % HOUR // 60 == 30 else 100.0
        growth, bursts = update_growth(growth, bursts, rate, STEP, startup, 1.0, float(second))
    assert growth.factor(0.98, 100.0, 100.0) < 1.3
