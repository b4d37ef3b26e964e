"""How long a pod may take to start, and how it leaves without failing a request."""

import math
from dataclasses import dataclass
from typing import Final

from tritonfleet.api.quantities import duration_seconds
from tritonfleet.api.server import Server

PROBE_PERIOD_SECONDS: Final = 2
SHORTEST_PRE_STOP_SECONDS: Final = 10
LONGEST_PRE_STOP_SECONDS: Final = 60
GRACE_MARGIN_SECONDS: Final = 15
"""Triton needs 3 to 6 s to unload after its last request, and 10 s more if a request would not end."""

AGE_JITTER: Final = 1.1
"""gRPC closes a connection up to 10 % later than its age."""
PROPAGATION_SECONDS: Final = 2
"""From a change of endpoints until every node routes by it."""


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The times that one pod lives by, in seconds."""

    startup: float
    drain: float
    connection_age: float

    @classmethod
    def of(cls, server: Server) -> "Lifecycle":
        """Read the times off the spec; raises InvalidSpec for what is no duration."""
        return cls(
            startup=duration_seconds(server.startup_timeout),
            drain=duration_seconds(server.drain_timeout),
            connection_age=duration_seconds(server.grpc_max_connection_age),
        )

    @property
    def connections_gone(self) -> int:
        """Seconds after which no gRPC connection of before leads to the pod any more."""
        return math.ceil(self.connection_age * AGE_JITTER) + PROPAGATION_SECONDS

    @property
    def pre_stop(self) -> int:
        """Seconds between leaving the Service and SIGTERM, at which Triton refuses every gRPC call at once.

        Until then the pod serves normally, while clients are moved to other pods by the connection age.
        """
        return min(max(SHORTEST_PRE_STOP_SECONDS, self.connections_gone), LONGEST_PRE_STOP_SECONDS)

    @property
    def grace(self) -> int:
        """Seconds from the pod's deletion until it is killed."""
        return self.pre_stop + math.ceil(self.drain) + GRACE_MARGIN_SECONDS

    @property
    def startup_attempts(self) -> int:
        """How often the startup probe may fail."""
        return max(1, math.ceil(self.startup / PROBE_PERIOD_SECONDS))
