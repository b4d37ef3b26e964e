"""What the user asks of the autoscaler, in SI units."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """One ModelDeployment's objective, limits and batching, as the law needs them."""

    latency_target_seconds: float | None
    """L: the latency that `percentile` percent of requests must not exceed; None when only throughput is asked for."""
    percentile: float = 99.0
    """In percent: 50, 90, 95, 99 or 99.9."""
    throughput: float = 0.0
    """Requests per second that the fleet must be able to carry at any time."""
    min_replicas: int = 1
    max_replicas: int = 1
    max_batch_size: int = 1
    """1 when Triton does not batch."""
    max_queue_delay_seconds: float = 0.0
    instances: int = 1
    """Executions that one pod runs side by side."""
    capacity_hint: float | None = None
    """Requests per second of one replica, used until the capacity is learned."""
    scale_up_factor: float = 4.0
    """Largest growth in one decision."""
    scale_down_percent: float = 34.0
    """Largest share of the replicas that one decision takes away."""
    hold_seconds: float = 90.0
    """W0: shortest time that a peak is remembered before replicas go."""
    forecast: bool = True
    """Whether a season may be used once it has proven skill."""
