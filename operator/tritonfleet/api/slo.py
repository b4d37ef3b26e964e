"""`spec.slo` and `spec.metrics`: what clients are promised, and where the latency is measured."""

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
RequestRate = Annotated[float, Field(ge=0, le=10_000_000, json_schema_extra={"exclusiveMinimum": True})]
"""Requests per second, more than none."""


class LatencyObjective(ApiModel):
    """How fast answers come."""

    percentile: Percentile = 99
    """Percent of the requests that keep the target: 50, 90, 95, 99 or 99.9."""
    target: Annotated[str, duration("1ms", "1h")]
    """Time from request to answer, queueing included, that these requests do not exceed, such as 50ms."""


class Slo(ApiModel):
    """What clients are promised."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule("has(self.latency) || has(self.throughput)", "must have `latency`, `throughput` or both"),
        rule(
            "!self.loadShedding || has(self.latency)",
            "must come with `latency`: nothing is late without a target",
            at=".loadShedding",
        ),
    )

    latency: LatencyObjective | None = None
    """How fast answers come."""
    throughput: RequestRate | None = None
    """Requests per second that the replicas must be able to carry at any time, asked for or not."""
    load_shedding: bool = False
    """Refuses requests that wait too long to be answered in time, by Triton's queue timeout.

    It follows from the target and the learned speed of the model and is frozen with the revision, so that only a
    change of the spec starts a rollout. Clients should try again: another replica may have room."""


class MetricsSource(StrEnum):
    """Where the measured latency comes from."""

    AUTO = "Auto"
    TRITON = "Triton"
    GATEWAY = "Gateway"


class Metrics(ApiModel):
    """Where the measured latency comes from; requests are always counted by Triton itself."""

    source: MetricsSource = MetricsSource.AUTO
    """Auto: the gateway's histogram, else Triton's, else an estimate; `status.autoscaling.latencySource` says which.

    Gateway and Triton: only that histogram, else an estimate."""
