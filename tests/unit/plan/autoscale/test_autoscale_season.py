import json

import pytest

from tritonfleet.plan.autoscale import History, Season, learn_season, update_season
from tritonfleet.plan.autoscale.seasonality import CYCLES, DAY, HOUR

BURST_MINUTE = 32


def live(season, hours, bursts=True):
    """Play hours of a steady 100 per second that triples in one minute of each; base had always said 110."""
    for second in range(0, int(hours * HOUR), 20):
        minute = second % HOUR // 60
        rate = 300.0 if bursts and minute == BURST_MINUTE else 100.0
        season = update_season(season, rate, 110.0, 100.0, float(second))
    return season


def test_a_burst_at_the_same_minute_of_each_hour_is_expected_once_that_has_proven_right():
    season = live(Season(), 8)
    ahead = 8 * HOUR + (BURST_MINUTE - 2) * 60
    assert season.forecast(ahead, 120.0, 100.0) == pytest.approx(300.0, rel=0.05)
    assert season.forecast(ahead - 600, 120.0, 100.0) is None


def test_before_it_has_proven_right_nothing_is_expected():
    season = live(Season(), CYCLES)
    assert season.forecast(CYCLES * HOUR + (BURST_MINUTE - 1) * 60, 120.0, 100.0) is None


def test_a_season_without_bursts_expects_none():
    season = live(Season(), 8, bursts=False)
    assert season.forecast(8 * HOUR + BURST_MINUTE * 60, 120.0, 100.0) is None


def test_bursts_that_stop_coming_lose_their_skill():
    season = live(live(Season(), 8), 40, bursts=False)
    assert season.forecast(BURST_MINUTE * 60.0, 120.0, 100.0) is None


def test_history_fills_the_slots_and_claims_no_skill():
    steps = 288 * 4
    day = tuple(float("nan") if step % 50 == 0 else 100.0 + step % 288 for step in range(steps))
    season = learn_season(Season(), History(0.0, 300.0, day))
    daily = season.cycles[1]
    assert daily.period == DAY
    assert min(daily.counts) >= 1
    assert season.forecast(0.0, 120.0, 100.0) is None


def test_a_season_survives_its_document():
    season = live(Season(), 8)
    again = Season.restore(json.loads(json.dumps(season.document())))
    ahead = 8 * HOUR + (BURST_MINUTE - 2) * 60
    assert again.forecast(ahead, 120.0, 100.0) == pytest.approx(season.forecast(ahead, 120.0, 100.0), rel=0.01)
