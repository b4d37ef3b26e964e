"""`slo.shedLate`: what would be answered late is refused, by the timeout of Triton's own queue.

The numbers come from what has been learned of the model when the revision is first written, and are frozen with it.
No queue is made shorter: while one is full, Triton 24.10 was seen to begin no batch for up to half a second at a time,
and to refuse most of what it could have answered.
"""

from dataclasses import dataclass
from typing import Final

from tritonfleet.api.modeldeployment import ModelDeploymentSpec
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.errors import InvalidSpec
from tritonfleet.triton.parallelism import largest_batch
from tritonfleet.triton.schema import ModelConfig

NETWORK_SECONDS: Final = 0.002
"""Of the target, for the way through the proxy and back."""
UNLEARNED_SHARE: Final = 0.5
"""Of the target that a request may queue for while nobody knows how long a batch takes."""
LEAST_SHARE: Final = 0.25
"""Of the target that a request may queue for at least: it has to wait for the batch that is being worked on."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What is known of one replica; None where nothing is."""

    alpha_seconds: float | None = None
    beta_seconds: float | None = None
    """A batch of b takes alpha + beta b."""


UNLEARNED: Final = Learned()


def shed_late(config: ModelConfig, spec: ModelDeploymentSpec, learned: Learned) -> None:
    """Give every queue a timeout; raises InvalidSpec if `modelConfig` gives one too."""
    latency = spec.slo.latency if spec.slo is not None and spec.slo.shed_late else None
    if latency is None:
        return
    timeout = queue_seconds(duration_seconds(latency.target), largest_batch(config), learned)
    batching = config.dynamic_batching
    for policy in (batching.default_queue_policy, *batching.priority_queue_policy.values()):
        if policy.default_timeout_microseconds:
            raise InvalidSpec(
                "spec.modelConfig sets `default_timeout_microseconds` and `slo.shedLate` is true, which sets it too: "
                "remove one of them"
            )
        policy.default_timeout_microseconds = round(timeout * 1e6)
        policy.timeout_action = policy.REJECT


def queue_seconds(target_seconds: float, batch: int, learned: Learned) -> float:
    """Return how long a request may wait so that the largest batch still answers it in time: L - T(batch) - network."""
    if learned.alpha_seconds is None or learned.beta_seconds is None:
        return UNLEARNED_SHARE * target_seconds
    left = target_seconds - (learned.alpha_seconds + learned.beta_seconds * batch) - NETWORK_SECONDS
    return max(LEAST_SHARE * target_seconds, left)
