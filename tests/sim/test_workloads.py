import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tritonfleet.sim import STEP_SECONDS, WORKLOAD_NAMES, workload

HOUR = 3600.0


def rates(name, hours, seed=0):
    return workload(name, 100.0, hours * HOUR, seed).rates


@pytest.mark.parametrize("name", WORKLOAD_NAMES)
@settings(max_examples=15, deadline=None)
@given(rate=st.floats(0.1, 1e4), seconds=st.floats(60, 2e5), seed=st.integers(0, 1000))
def test_any_workload_has_the_rate_and_the_length_asked_for(name, rate, seconds, seed):
    trace = workload(name, rate, seconds, seed)
    assert trace.rates.mean() == pytest.approx(rate)
    assert trace.rates.min() >= 0
    assert seconds <= trace.duration_seconds <= seconds + STEP_SECONDS


@pytest.mark.parametrize("name", WORKLOAD_NAMES)
def test_the_seed_decides_everything(name):
    assert np.array_equal(rates(name, 2, seed=7), rates(name, 2, seed=7))
    assert not np.array_equal(rates(name, 2, seed=7), rates(name, 2, seed=8))


def test_a_day_is_smooth_and_its_peak_is_a_few_times_its_low():
    day = rates("daily", 24)
    assert 3 < day.max() / day.min() < 7
    assert np.abs(np.diff(day) / day[:-1]).max() < 0.05


def test_a_day_longer_than_a_day_comes_again():
    two = rates("daily", 48).reshape(2, -1)
    assert np.corrcoef(two)[0, 1] > 0.99


def test_a_weekend_is_quieter():
    days = rates("weekly", 7 * 24).reshape(7, -1).mean(axis=1)
    assert days[5:].max() < 0.75 * days[:5].min()


def test_steps_go_up_to_four_times_the_lowest_level():
    levels = rates("steps", 2)
    assert len(np.unique(levels.round(6))) == 4
    assert levels.max() == pytest.approx(4 * levels.min())


def test_spikes_last_minutes_and_come_without_warning():
    trace = rates("spikes", 10)
    high = trace > 2 * np.median(trace)
    assert 0.05 < high.mean() < 0.25
    assert np.diff(trace).max() == pytest.approx(2 * np.median(trace))


def test_a_flash_crowd_comes_once_and_goes_slowly():
    trace = rates("flash-crowd", 4)
    peak = int(np.argmax(trace))
    quiet = trace[0]
    assert trace[peak] > 4.5 * quiet
    assert trace[peak - 7] == pytest.approx(quiet)
    assert trace[peak + 6] > 4 * quiet
    assert trace[-1] < 1.1 * quiet


def test_a_noisy_constant_stays_around_its_mean():
    trace = rates("noisy-constant", 12)
    assert 0.07 < trace.std() / trace.mean() < 0.13


def test_on_and_off_are_two_levels():
    trace = rates("on-off", 6)
    assert len(np.unique(trace.round(6))) == 2
    assert trace.max() == pytest.approx(10 * trace.min())


def test_bursts_come_back_at_the_same_minute_of_the_hour():
    starts = []
    for seed in range(10):
        trace = rates("bursty", 24, seed)
        jumps = np.flatnonzero(trace[1:] > 1.6 * trace[:-1]) + 1
        starts += [int(step * STEP_SECONDS % HOUR // 60) for step in jumps]
    assert len(starts) > 30
    assert np.mean(np.isin(starts, (32, 33))) > 0.4


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="'hourly' is not one of daily, weekly"):
        workload("hourly", 1.0, 1.0)


@pytest.mark.parametrize(("rate", "seconds"), [(0.0, 60.0), (1.0, 0.0), (-1.0, 60.0)])
def test_nothing_is_made_of_no_rate_or_no_time(rate, seconds):
    with pytest.raises(ValueError, match="above 0"):
        workload("daily", rate, seconds)
