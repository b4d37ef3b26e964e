import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.sim import RateTrace, TimestampTrace

WAVY = RateTrace("wavy", 7.0, np.linspace(0.0, 30.0, 100), seed=1)


@given(st.floats(0.5, 130.0))
def test_arrivals_are_the_same_however_the_windows_are_cut(width):
    edges = np.arange(0.0, WAVY.duration_seconds + width, width)
    pieces = [WAVY.arrivals(start, start + width) for start in edges]

    np.testing.assert_array_equal(np.concatenate(pieces), WAVY.arrivals(0.0, WAVY.duration_seconds))


def test_arrivals_follow_the_rate_and_vary_as_chance_does():
    trace = RateTrace("steps", 100.0, np.array([10.0, 0.0, 50.0] * 20), seed=4)
    counts = np.array([len(trace.arrivals(start, start + 100.0)) for start in np.arange(0.0, 6000.0, 100.0)])

    assert counts[1::3].sum() == 0
    assert counts[0::3].mean() == pytest.approx(1000, rel=0.03)
    assert counts[2::3].mean() == pytest.approx(5000, rel=0.02)
    assert 0.5 < counts[0::3].var() / counts[0::3].mean() < 2.0


def test_another_seed_gives_other_arrivals():
    assert len(WAVY.arrivals(0, 700)) != len(RateTrace("wavy", 7.0, WAVY.rates, seed=2).arrivals(0, 700))


def test_a_rate_is_scaled_as_a_rate():
    assert WAVY.scaled(2.5).rates.tolist() == (2.5 * WAVY.rates).tolist()


@pytest.mark.parametrize("factor", [0.3, 1.0, 3.4])
def test_recorded_requests_are_scaled_by_moved_copies_and_thinning(factor):
    record = TimestampTrace("record", WAVY.arrivals(0.0, 700.0), 700.0)
    scaled = record.scaled(factor)
    minutes = np.arange(0.0, 720.0, 60.0)

    assert len(scaled.times) == pytest.approx(factor * len(record.times), rel=0.03)
    assert scaled.duration_seconds == 700.0
    assert len(np.unique(scaled.times)) == len(scaled.times)
    np.testing.assert_allclose(
        np.histogram(scaled.times, minutes)[0], factor * np.histogram(record.times, minutes)[0], rtol=0.2, atol=20
    )


def test_scaling_by_one_keeps_the_record():
    record = TimestampTrace("record", np.array([0.5, 0.5, 3.0]))

    assert record.scaled(1.0).times.tolist() == [0.5, 0.5, 3.0]
    assert record.duration_seconds == 4.0


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: RateTrace("x", 0.0, np.array([1.0])), "step_seconds is 0.0; it must be above 0"),
        (lambda: RateTrace("x", 1.0, np.array([-1.0])), "rates must be finite numbers of 0 or more"),
        (lambda: TimestampTrace("x", np.array([2.0, 1.0])), "arrivals must be in order of time"),
        (lambda: TimestampTrace("x", np.array([])), "needs at least one arrival"),
        (lambda: WAVY.scaled(0.0), "the factor is 0.0; it must be above 0"),
    ],
)
def test_a_trace_that_makes_no_sense_is_refused(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()
