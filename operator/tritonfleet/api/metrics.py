"""`spec.metrics`: where the measured latency comes from."""

from enum import StrEnum

from tritonfleet.api.base import ApiModel


class MetricsSource(StrEnum):
    """Where the measured latency comes from."""

    AUTO = "Auto"
    TRITON = "Triton"
    GATEWAY = "Gateway"


class Metrics(ApiModel):
    """Where the measured latency comes from; requests are always counted by Triton itself."""

    source: MetricsSource = MetricsSource.AUTO
    """Auto: the gateway's histogram, else Triton's, else an estimate; `status.autoscaling.p99Source` says which.

    Gateway and Triton: only that histogram, else an estimate."""
