"""`spec.slo` and `spec.metrics`: the service level objective, and the source of the measured latency."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from tritonfleet.api.base import ApiModel, Rule, duration, rule

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


def _one_of_them(percentile: float) -> float:
    if percentile not in PERCENTILES:
        raise ValueError("must be 50, 90, 95, 99 or 99.9")
    return percentile


Percentile = Annotated[
    float,
    Field(
        ge=0,
        le=100,
        json_schema_extra={
            "x-kubernetes-validations": [
                rule(f"{list(PERCENTILES)}.exists(one, one == self)", "must be 50, 90, 95, 99 or 99.9", got="self")
            ]
        },
    ),
    AfterValidator(_one_of_them),
]
# Kubernetes cuts off what follows the point of a bound when a whole number is written: at 0.001 it would let 0 pass.
_NEVER_ALL = "must be below 100: no number of requests shows that none will ever fail"


def _not_all(percent: float) -> float:
    if percent >= 100:
        raise ValueError(_NEVER_ALL)
    return percent


Availability = Annotated[
    float,
    Field(
        ge=50, le=100, json_schema_extra={"x-kubernetes-validations": [rule("self < 100.0", _NEVER_ALL, got="self")]}
    ),
    AfterValidator(_not_all),
]
"""Percent of requests."""
RequestRate = Annotated[float, Field(ge=0, le=10_000_000, json_schema_extra={"exclusiveMinimum": True})]
"""Requests per second, above 0."""


class LatencyObjective(ApiModel):
    """Latency objective."""

    percentile: Percentile = 99
    """Percent of requests that must meet the target: 50, 90, 95, 99 or 99.9."""
    target: Annotated[str, duration("1ms", "1h")]
    """Maximum latency of these requests, including queueing, such as 50ms."""


class Slo(ApiModel):
    """Service level objective."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "has(self.latency) || has(self.queueTime) || has(self.throughput) || has(self.availability)",
            "must have `latency`, `queueTime`, `throughput` or `availability`",
        ),
        rule(
            "!self.loadShedding || has(self.latency)",
            "must come with `latency`: it needs a target",
            at=".loadShedding",
        ),
    )

    latency: LatencyObjective | None = None
    """Latency objective."""
    queue_time: Annotated[str, duration("1ms", "1h")] | None = None
    """Maximum of the mean time that requests wait in Triton's queue, such as 5ms."""
    availability: Availability | None = None
    """Percent of requests that must be answered without an error, such as 99.9."""
    throughput: RequestRate | None = None
    """Requests per second that the replicas must be able to serve at any time."""
    load_shedding: bool = False
    """Rejects requests that would miss the target, by Triton's queue timeout.

    It follows from the target and the learned speed of the model and is frozen with the revision, so that only a
    change of the spec starts a rollout. Clients should retry: another replica may have capacity."""


class MetricsSource(StrEnum):
    """Source of the measured latency."""

    AUTO = "Auto"
    TRITON = "Triton"
    GATEWAY = "Gateway"


class Metrics(ApiModel):
    """Source of the measured latency; requests are always counted by Triton."""

    source: MetricsSource = MetricsSource.AUTO
    """Auto: the gateway's histogram, else Triton's, else an estimate; `status.autoscaling.latencySource` shows which.

    Gateway and Triton: only that histogram, else an estimate."""
