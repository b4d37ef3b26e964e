"""`spec.autoscaling`: what sets the number of replicas, and its limits."""

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
    """What sets the number of replicas."""

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
    """Scale-out."""

    max_factor: Annotated[float, Field(ge=1, le=100)] = 4
    """Maximum growth per decision: 4 means from 2 to 8 at most; at least one replica can be added."""


class ScaleDown(ApiModel):
    """Scale-in."""

    stabilization_window: Annotated[str, duration("0s", "24h")] = "90s"
    """Minimum stabilization window of scale-in; recurring bursts extend it."""
    max_percent: Annotated[int, Field(ge=1, le=100)] = 34
    """Maximum percent of the replicas removed per decision; at least one can be removed."""


class ScalingBehavior(ApiModel):
    """Speed of scaling."""

    scale_up: ScaleUp = ScaleUp()
    """Scale-out."""
    scale_down: ScaleDown = ScaleDown()
    """Scale-in."""


class Schedule(ApiModel):
    """Limits at certain times."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "has(self.minReplicas) || has(self.maxReplicas)",
            "must set `minReplicas`, `maxReplicas` or both: it has no effect otherwise",
        ),
        rule(
            "!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
            "must not be above the schedule's `maxReplicas`",
            got="self.minReplicas",
            at=".minReplicas",
        ),
    )

    name: Annotated[str, text(63)]
    """Unique name of the schedule."""
    time_zone: Annotated[
        str, matching(64, "^[A-Za-z0-9_+/-]+$", "must be the name of a time zone, such as Europe/Berlin")
    ] = "UTC"
    """IANA time zone of `days`, `from` and `to`, such as Europe/Berlin; follows daylight saving time."""
    days: Annotated[tuple[Day, ...], items(7, list_type="set")] = ()
    """Days on which it starts; absent means every day."""
    start: Annotated[TimeOfDay, Field(alias="from")]
    """Start, such as 08:30."""
    end: Annotated[TimeOfDay, Field(alias="to")]
    """End, such as 18:00; on the next day if not later than `from`."""
    min_replicas: Replicas | None = None
    """Replaces `autoscaling.minReplicas` meanwhile."""
    max_replicas: Replicas | None = None
    """Replaces `autoscaling.maxReplicas` meanwhile."""


_OWN = ("minReplicas", "maxReplicas", "capacityHint", "behavior", "schedules")


class Autoscaling(ApiModel):
    """What sets the number of replicas, and its limits."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "self.mode != 'SLO' || has(self.maxReplicas)",
            "must be set, to limit the cost",
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
    """SLO: the operator meets `slo` with as few pods as possible. External: a HorizontalPodAutoscaler, KEDA or a user
    writes `replicas`, through `/scale`."""
    min_replicas: Replicas | None = None
    """Minimum of pods; absent means 1."""
    max_replicas: Replicas | None = None
    """Maximum of pods; required in mode SLO."""
    advisory: bool = False
    """Only reports in the status how many pods it would run; `replicas` applies."""
    capacity_hint: RequestRate | None = None
    """Requests per second that one pod can serve within the target, used until it is learned."""
    forecast: bool = True
    """Whether to start replicas ahead of minutes in which bursts came before."""
    behavior: ScalingBehavior | None = None
    """Speed of scaling; the defaults suit most models."""
    schedules: Annotated[tuple[Schedule, ...], items(16, key="name")] = ()
    """Limits at certain times. Where schedules overlap, the later in the list wins."""

    @property
    def lowest(self) -> int:
        """Minimum of pods outside of schedules."""
        return self.min_replicas if self.min_replicas is not None else 1
