"""`spec.autoscaling`: who decides how many pods serve, and within which limits."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from tritonfleet.api.base import ApiModel, Rule, at_least_one, duration, items, matching, rule, text
from tritonfleet.api.slo import RequestRate

REPLICAS_MAX = 1000
Replicas = Annotated[int, at_least_one(REPLICAS_MAX, "to run no pods, set `suspend: true`")]
TimeOfDay = Annotated[
    str, matching(5, "^([01][0-9]|2[0-3]):[0-5][0-9]$", "must be a time of day from 00:00 to 23:59, such as 08:30")
]


class ScalingMode(StrEnum):
    """Who decides."""

    SLO = "SLO"
    EXTERNAL = "External"


class Day(StrEnum):
    """A day of the week, in the order of `datetime.weekday`."""

    MONDAY = "Monday"
    TUESDAY = "Tuesday"
    WEDNESDAY = "Wednesday"
    THURSDAY = "Thursday"
    FRIDAY = "Friday"
    SATURDAY = "Saturday"
    SUNDAY = "Sunday"


class ScaleUp(ApiModel):
    """How replicas are added."""

    max_factor: Annotated[float, Field(ge=1, le=100)] = 4
    """Largest growth in one decision: 4 means from 2 to 8 at most; one replica may always come."""


class ScaleDown(ApiModel):
    """How replicas are taken away."""

    stabilization_window: Annotated[str, duration("0s", "24h")] = "90s"
    """How long at least a peak is remembered; longer by itself where peaks come back."""
    max_percent: Annotated[int, Field(ge=1, le=100)] = 34
    """Largest share of the replicas, in percent, that one decision takes away; one replica may always go."""


class ScalingBehavior(ApiModel):
    """How fast replicas come and go."""

    scale_up: ScaleUp = ScaleUp()
    """How replicas are added."""
    scale_down: ScaleDown = ScaleDown()
    """How replicas are taken away."""


class Schedule(ApiModel):
    """Other limits at certain times."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "has(self.minReplicas) || has(self.maxReplicas)",
            "must set `minReplicas`, `maxReplicas` or both: it changes nothing otherwise",
        ),
        rule(
            "!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
            "must not be above the schedule's `maxReplicas`",
            got="self.minReplicas",
            at=".minReplicas",
        ),
    )

    name: Annotated[str, text(63)]
    """What the limits are for; no two share a name."""
    time_zone: Annotated[
        str, matching(64, "^[A-Za-z0-9_+/-]+$", "must be the name of a time zone, such as Europe/Berlin")
    ] = "UTC"
    """IANA name of the zone of `days`, `from` and `to`, such as Europe/Berlin; summer time is kept."""
    days: Annotated[tuple[Day, ...], items(7, list_type="set")] = ()
    """Days on which it begins; absent means every day."""
    start: Annotated[TimeOfDay, Field(alias="from")]
    """When it begins, such as 08:30."""
    end: Annotated[TimeOfDay, Field(alias="to")]
    """When it ends, such as 18:00; not later than `from` means on the next day."""
    min_replicas: Replicas | None = None
    """Takes the place of `autoscaling.minReplicas` meanwhile."""
    max_replicas: Replicas | None = None
    """Takes the place of `autoscaling.maxReplicas` meanwhile."""


_OWN = ("minReplicas", "maxReplicas", "capacityHint", "behavior", "schedules")


class Autoscaling(ApiModel):
    """Who decides how many pods serve, and within which limits."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "self.mode != 'SLO' || has(self.maxReplicas)",
            "must be set: it is what the replicas may cost at most",
            at=".maxReplicas",
        ),
        rule(
            "!has(self.maxReplicas) || self.mode != 'SLO' ||"
            " (has(self.minReplicas) ? self.minReplicas : 1) <= self.maxReplicas",
            "must not be above `maxReplicas`",
            got="self.minReplicas",
            at=".minReplicas",
        ),
        rule(
            "self.mode != 'External' || !(" + " || ".join(f"has(self.{name})" for name in _OWN) + ")"
            " && !self.advisory && self.forecast",
            "must stand alone when it is 'External': limits and speed are then the other scaler's",
            at=".mode",
        ),
        rule(
            "!has(self.schedules) || !has(self.maxReplicas) || self.schedules.all(s, !has(s.minReplicas)"
            " || has(s.maxReplicas) || s.minReplicas <= self.maxReplicas)",
            "must not have a `minReplicas` above `autoscaling.maxReplicas`: raise the schedule's `maxReplicas` too",
            got="self.schedules.filter(s, has(s.minReplicas) && !has(s.maxReplicas)"
            " && s.minReplicas > self.maxReplicas)[0].minReplicas",
            at=".schedules",
        ),
        rule(
            "!has(self.schedules) || self.schedules.all(s, !has(s.maxReplicas) || has(s.minReplicas)"
            " || s.maxReplicas >= (has(self.minReplicas) ? self.minReplicas : 1))",
            "must not have a `maxReplicas` below `autoscaling.minReplicas`: lower the schedule's `minReplicas` too",
            got="self.schedules.filter(s, has(s.maxReplicas) && !has(s.minReplicas)"
            " && s.maxReplicas < (has(self.minReplicas) ? self.minReplicas : 1))[0].maxReplicas",
            at=".schedules",
        ),
    )

    mode: ScalingMode = ScalingMode.SLO
    """SLO: the operator keeps `slo` with as few pods as it can. External: a HorizontalPodAutoscaler, KEDA or a person
    writes `replicas`, through `/scale`."""
    min_replicas: Replicas | None = None
    """Fewest pods, whatever the demand; absent means 1."""
    max_replicas: Replicas | None = None
    """Most pods, whatever the demand; required in mode SLO."""
    advisory: bool = False
    """Says in the status how many pods it would run, and leaves the number to `replicas`."""
    capacity_hint: RequestRate | None = None
    """Requests per second that one pod can serve within the target, believed until it has been learned."""
    forecast: bool = True
    """Whether the traffic of past days may be counted on, once such forecasts have proven better than none."""
    behavior: ScalingBehavior | None = None
    """How fast replicas come and go; the defaults suit most."""
    schedules: Annotated[tuple[Schedule, ...], items(16, key="name")] = ()
    """Other limits at certain times. Where two meet, the later in the list decides."""

    @property
    def lowest(self) -> int:
        """Fewest pods outside of schedules."""
        return self.min_replicas if self.min_replicas is not None else 1
