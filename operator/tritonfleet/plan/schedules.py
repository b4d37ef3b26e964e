"""The limits of the moment: `autoscaling.schedules` in their time zones, on days of 23 and 25 hours too."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tritonfleet.api.autoscaling import REPLICAS_MAX, Autoscaling, Day, Schedule
from tritonfleet.errors import InvalidSpec


@dataclass(frozen=True, slots=True)
class Limits:
    """Fewest and most pods."""

    lowest: int
    highest: int


def limits(autoscaling: Autoscaling, now: datetime) -> Limits:
    """Return the limits in force; of several schedules at once the later in the list decides.

    Raises InvalidSpec for a time zone that does not exist.
    """
    lowest = autoscaling.lowest
    highest = autoscaling.max_replicas if autoscaling.max_replicas is not None else REPLICAS_MAX
    for index, schedule in enumerate(autoscaling.schedules):
        if not _in_force(schedule, _zone(schedule, index), now):
            continue
        lowest = schedule.min_replicas if schedule.min_replicas is not None else lowest
        highest = schedule.max_replicas if schedule.max_replicas is not None else highest
    return Limits(min(lowest, highest), highest)


def _zone(schedule: Schedule, index: int) -> ZoneInfo:
    try:
        return ZoneInfo(schedule.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidSpec(
            f"spec.autoscaling.schedules[{index}].timeZone: '{schedule.time_zone}' is no time zone: "
            "write an IANA name such as Europe/Berlin or UTC"
        ) from error


def _in_force(schedule: Schedule, zone: ZoneInfo, now: datetime) -> bool:
    return any(_began(start, zone, now) and not _ended(end, zone, now) for start, end in _windows(schedule, zone, now))


def _windows(schedule: Schedule, zone: ZoneInfo, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield what began today and yesterday, as what a clock on the wall shows."""
    start, end = time.fromisoformat(schedule.start), time.fromisoformat(schedule.end)
    today = now.astimezone(zone).date()
    for day in (today, today - timedelta(days=1)):
        if not schedule.days or list(Day)[day.weekday()] in schedule.days:
            until = day if end > start else day + timedelta(days=1)
            yield datetime.combine(day, start), datetime.combine(until, end)


def _began(start: datetime, zone: ZoneInfo, now: datetime) -> bool:
    """Tell whether clocks have shown the start, or should have: where they show it twice, the first time counts."""
    return _wall(now, zone) >= start or now >= start.replace(tzinfo=zone, fold=0)


def _ended(end: datetime, zone: ZoneInfo, now: datetime) -> bool:
    """Tell whether clocks have shown the end, or should have: where they show it twice, the second time counts."""
    return _wall(now, zone) >= end and now >= end.replace(tzinfo=zone, fold=1)


def _wall(now: datetime, zone: ZoneInfo) -> datetime:
    return now.astimezone(zone).replace(tzinfo=None, fold=0)
