"""Limits that change with the time of day, in a time zone, on the days on which clocks are put forward or back too."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from tritonfleet.api.autoscaling import Autoscaling
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.scaling import Limits, limits_in_force

BUSY = {"name": "busy", "from": "08:30", "to": "18:00", "minReplicas": 4}


def lowest(now, **schedule):
    return limits_at(now, BUSY | schedule).lowest


def limits_at(now, *schedules):
    autoscaling = Autoscaling.model_validate({"minReplicas": 2, "maxReplicas": 10, "schedules": list(schedules)})
    return limits_in_force(autoscaling, datetime.fromisoformat(now).astimezone(UTC))


def test_without_a_schedule_the_limits_are_those_of_the_spec():
    assert limits_at("2026-06-01T12:00:00Z") == Limits(2, 10)


@pytest.mark.parametrize(
    ("at", "expected"),
    [("08:29:59", 2), ("08:30:00", 4), ("17:59:59", 4), ("18:00:00", 2)],
)
def test_a_schedule_begins_and_ends_on_the_second(at, expected):
    assert lowest(f"2026-06-01T{at}Z") == expected


def test_times_are_those_of_the_zone():
    assert lowest("2026-06-01T06:30:00Z", timeZone="Europe/Berlin") == 4
    assert lowest("2026-06-01T16:00:00Z", timeZone="Europe/Berlin") == 2
    assert lowest("2026-01-05T06:30:00Z", timeZone="Europe/Berlin") == 2


def test_a_schedule_over_midnight_belongs_to_the_day_on_which_it_begins():
    night = {"from": "22:00", "to": "06:00", "days": ["Friday"]}
    assert lowest("2026-06-05T23:00:00Z", **night) == 4
    assert lowest("2026-06-06T05:59:00Z", **night) == 4
    assert lowest("2026-06-06T23:00:00Z", **night) == 2
    assert lowest("2026-06-05T05:00:00Z", **night) == 2


def test_a_schedule_that_ends_when_it_begins_lasts_a_day():
    whole = {"from": "06:00", "to": "06:00", "days": ["Monday"]}
    assert [lowest(f"2026-06-0{day}T{hour}:00:00Z", **whole) for day, hour in ((1, "05"), (1, "06"), (2, "05"))] == [
        2,
        4,
        4,
    ]
    assert lowest("2026-06-02T06:00:00Z", **whole) == 2


def test_the_later_of_two_schedules_decides():
    sale = {"name": "sale", "from": "10:00", "to": "12:00", "minReplicas": 8, "maxReplicas": 40}
    assert limits_at("2026-06-01T11:00:00Z", BUSY, sale) == Limits(8, 40)
    assert limits_at("2026-06-01T11:00:00Z", sale, BUSY) == Limits(4, 40)


def test_a_maximum_of_one_schedule_stands_above_a_minimum_of_another():
    night = {"name": "saving", "from": "10:00", "to": "12:00", "maxReplicas": 3}
    assert limits_at("2026-06-01T11:00:00Z", BUSY, night) == Limits(3, 3)


def hours_in_force(day, start, end):
    """Count the hours of a local day during which the schedule holds, minute by minute."""
    midnight = datetime.fromisoformat(day).astimezone(UTC)
    minutes = [midnight + timedelta(minutes=minute) for minute in range(23 * 60)]
    held = [lowest(at.isoformat(), timeZone="Europe/Berlin", **{"from": start, "to": end}) == 4 for at in minutes]
    changes = sum(before != after for before, after in itertools.pairwise(held))
    return sum(held) / 60, changes


FORWARD, BACK = "2026-03-29T00:00:00+01:00", "2026-10-25T00:00:00+02:00"


@pytest.mark.parametrize(
    ("day", "start", "end", "hours"),
    [
        (FORWARD, "01:30", "05:00", 2.5),
        (FORWARD, "02:30", "05:00", 2.0),
        (FORWARD, "01:00", "02:30", 1.0),
        (BACK, "01:30", "05:00", 4.5),
        (BACK, "02:30", "05:00", 3.5),
        (BACK, "01:00", "02:30", 2.5),
        (BACK, "02:15", "02:45", 1.5),
    ],
)
def test_clocks_put_forward_or_back_neither_skip_nor_interrupt_a_schedule(day, start, end, hours):
    assert hours_in_force(day, start, end) == (hours, 2)


@pytest.mark.parametrize("zone", ["Mars/Base", "../etc/passwd", "/etc/passwd", "Europe", "CEST"])
def test_a_zone_that_does_not_exist_is_named_with_its_place(zone):
    with pytest.raises(
        InvalidSpec, match=r"schedules\[0\]\.timeZone: '.*' is not a time zone: use an IANA name"
    ) as told:
        lowest("2026-06-01T12:00:00Z", timeZone=zone)
    assert f"'{zone}'" in str(told.value)
