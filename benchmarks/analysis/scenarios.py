"""The situations in which a rule must keep or reject a canary."""

from dataclasses import dataclass
from enum import StrEnum

BASE_ERRORS = 0.005
CORRELATION = 0.005
INCIDENT = 6.0


class Clusters(StrEnum):
    """At which level requests of one window fail together."""

    NONE = "none"
    POD = "pod"
    REVISION = "revision"


ALWAYS = 1000


@dataclass(frozen=True, slots=True)
class Scenario:
    """One line of the table. Shares are 0..1; a window is one look."""

    name: str
    good: bool
    """Whether the canary is as good as stable, so that a rollback is wrong."""
    canary_errors: float = BASE_ERRORS
    stable_errors: float = BASE_ERRORS
    clusters: Clusters = Clusters.NONE
    burst_chance: float = 0.0
    """Chance that one pod fails 4 percentage points more of its requests for one window."""
    uneven_arrivals: bool = False
    """Whether each pod's requests vary by half from window to window."""
    incident_windows: int = 0
    """Windows, from the second on, in which both revisions fail six times as often; `ALWAYS`: in every one."""
    slowdown: float | None = None
    """Factor on the canary's latencies; None where errors are looked at."""


NO_CHANGE = Scenario("no change", good=True)
DISPERSED = (
    Scenario("no change, failures cluster by pod", good=True, clusters=Clusters.POD),
    Scenario("no change, failures cluster by revision", good=True, clusters=Clusters.REVISION),
    Scenario("no change, bursts in single pods", good=True, burst_chance=0.02),
    Scenario("no change, arrivals come in bursts", good=True, uneven_arrivals=True),
)
INCIDENTS = (
    Scenario("shared incident, both fail 6x", good=True, incident_windows=ALWAYS),
    Scenario("shared incident, clustered", good=True, incident_windows=ALWAYS, clusters=Clusters.REVISION),
    Scenario("shared incident of three windows", good=True, incident_windows=3),
)
TWO = Scenario("2 % errors", good=False, canary_errors=0.02)
FIVE = Scenario("5 % errors", good=False, canary_errors=0.05)
ERRORS = (
    NO_CHANGE,
    *DISPERSED,
    *INCIDENTS,
    Scenario("1 % errors", good=False, canary_errors=0.01),
    Scenario("1 % errors, clustered", good=False, canary_errors=0.01, clusters=Clusters.REVISION),
    TWO,
    Scenario("2 % errors, clustered", good=False, canary_errors=0.02, clusters=Clusters.REVISION),
    FIVE,
    Scenario("5 % errors, clustered", good=False, canary_errors=0.05, clusters=Clusters.REVISION),
)
LATENCY = (
    Scenario("equally fast", good=True, slowdown=1.0),
    Scenario("1.2x slower", good=False, slowdown=1.2),
    Scenario("1.5x slower", good=False, slowdown=1.5),
)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests of one pod in one window; one canary pod beside nine of stable."""

    requests: int
    stable_pods: int = 9


TRAFFICS = (Traffic(200), Traffic(600))
"""3.3 and 10 requests per second and pod with a look a minute: 33 and 100 per second for the model."""
