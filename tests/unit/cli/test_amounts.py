"""Durations and rates as people write and read them."""

import pytest

from tritonfleet.cli import arguments


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1h30m", 5400), ("0.5ms", 0.0005), ("250us", 0.00025), ("7d", 604800), ("1.5h", 5400)],
)
def test_a_duration_is_numbers_with_units(text: str, seconds: float) -> None:
    assert arguments.seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["90", "-1s", "1 h", "s", "", "0s", "1e3s", "tomorrow"])
def test_a_duration_without_a_unit_or_a_length_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        arguments.seconds(text)


@pytest.mark.parametrize("text", ["0", "-3", "nan", "inf", "many"])
def test_a_rate_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"must be requests per second, .*not '{text}'"):
        arguments.rate(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0005, "0.5ms"),
        (0.75, "750ms"),
        (2.5, "2.5s"),
        (59.999, "1m"),
        (3502, "58m22s"),
        (5400, "1h30m"),
        (3600, "1h"),
        (604800, "7d"),
        (90000, "1d1h"),
    ],
)
def test_a_duration_is_formatted_with_two_units_at_most(seconds: float, text: str) -> None:
    assert arguments.format_duration(seconds) == text


@pytest.mark.parametrize(("rate", "text"), [(0.05, "0.05"), (5.534, "5.53"), (131.4, "131"), (17018.2, "17,018")])
def test_a_rate_is_formatted_with_at_least_three_digits(rate: float, text: str) -> None:
    assert arguments.per_second(rate) == text
