"""One Triton server with one model, as far as latency and batches go."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerModel:
    """How long an execution takes and how Triton's dynamic batcher forms it. Every request carries one inference."""

    alpha_seconds: float
    """Time of an execution that does not depend on its batch."""
    beta_seconds: float
    """Time that each request adds to its execution: T(b) = alpha + beta * b."""
    max_batch_size: int = 1
    """1 when Triton does not batch."""
    instances: int = 1
    """Executions side by side in one pod."""
    max_queue_delay_seconds: float = 0.0
    preferred_batch_sizes: tuple[int, ...] = ()
    """Empty for Triton's own default, the largest batch."""
    max_queue_size: int = 0
    """Requests that may wait; 0 for no limit."""
    queue_timeout_seconds: float = 0.0
    """Requests that wait longer are rejected; 0 for never."""
    overhead_seconds: float = 0.0
    """What a client sees on top of queue and execution: network, serialization, gateway."""
    noise: float = 0.0
    """Standard deviation of the logarithm of an execution's time; the mean stays T(b)."""

    def __post_init__(self) -> None:
        if self.alpha_seconds < 0 or self.beta_seconds < 0 or self.alpha_seconds + self.beta_seconds <= 0:
            raise ValueError("server: alpha_seconds and beta_seconds must be 0 or more, and not both 0")
        if self.max_batch_size < 1 or self.instances < 1:
            raise ValueError("server: max_batch_size and instances must be 1 or more")
        if any(not 0 < size <= self.max_batch_size for size in self.preferred_batch_sizes):
            raise ValueError(f"server: preferred_batch_sizes must lie in 1..{self.max_batch_size}")
        for name in ("max_queue_delay_seconds", "max_queue_size", "queue_timeout_seconds", "overhead_seconds", "noise"):
            if getattr(self, name) < 0:
                raise ValueError(f"server: {name} must be 0 or more")

    def execution_seconds(self, batch: int) -> float:
        """Return T(batch), the mean time of one execution."""
        return self.alpha_seconds + self.beta_seconds * batch
