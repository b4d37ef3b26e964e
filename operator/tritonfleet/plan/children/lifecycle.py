"""How long a pod may take to start, and how it leaves without failing a request."""

import math
from dataclasses import dataclass
from typing import Final

from tritonfleet.api.quantities import duration_seconds
from tritonfleet.api.server import Server

PROBE_PERIOD_SECONDS: Final = 2
PROXY_PRE_STOP_SECONDS: Final = 10
"""From leaving the Services until the proxy refuses new HTTP connections: gateways outside are slow to hear."""
IDLE_SECONDS: Final = 23
"""How long the proxy keeps an HTTP connection that asks nothing.

No round number, so that a client that asks at regular intervals does not meet the moment of closing.
"""
HTTP_AGE_SECONDS: Final = 10
"""After how long the proxy ends a busy HTTP connection with its next answer, so that clients find new pods."""
_HTTP_GONE_SECONDS: Final = PROXY_PRE_STOP_SECONDS + IDLE_SECONDS + 2
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
        """Seconds between leaving the Service and Triton's SIGTERM, at which it refuses whatever is new at once.

        Until then Triton serves normally: gRPC clients are moved to other pods by the connection age, and by
        the end no idle HTTP connection is left that could ask the proxy for something new.
        """
        return min(max(_HTTP_GONE_SECONDS, self.connections_gone), LONGEST_PRE_STOP_SECONDS)

    @property
    def proxy_drain(self) -> int:
        """Seconds that the proxy has for requests under way: until Triton would give them up."""
        return self.pre_stop - PROXY_PRE_STOP_SECONDS + math.ceil(self.drain)

    @property
    def linger(self) -> int:
        """Seconds until an old revision may be deleted after the front Service has left it.

        Its pods go on serving for `pre_stop` after that.
        """
        return max(PROPAGATION_SECONDS, self.connections_gone - self.pre_stop)

    @property
    def grace(self) -> int:
        """Seconds from the pod's deletion until it is killed."""
        return self.pre_stop + math.ceil(self.drain) + GRACE_MARGIN_SECONDS

    @property
    def startup_attempts(self) -> int:
        """How often the startup probe may fail."""
        return max(1, math.ceil(self.startup / PROBE_PERIOD_SECONDS))
