"""`spec.rollout.canary`: how a new revision earns its traffic."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from tritonfleet.api import base
from tritonfleet.api.base import ApiModel, ObjectName, duration, items, text

STEPS_MAX = 10
QUERIES_MAX = 8


class CapacityMode(StrEnum):
    """Where the canary's pods come from."""

    AUTO = "Auto"
    SURGE = "Surge"
    IN_PLACE = "InPlace"
    RECREATE = "Recreate"


class OnTimeout(StrEnum):
    """What follows when there is no room in time."""

    HOLD = "Hold"
    IN_PLACE = "InPlace"
    FAIL = "Fail"


class OnTooFewRequests(StrEnum):
    """What becomes of a step that never sees enough requests."""

    HOLD = "Hold"
    PASS_ON_PROBE = "PassOnProbe"  # noqa: S105 - no password
    ROLLBACK = "Rollback"


class OnMetricsError(StrEnum):
    """What follows when metrics stay away."""

    HOLD = "Hold"
    ROLLBACK = "Rollback"


class ContractPolicy(StrEnum):
    """What follows from a change of the model's inputs and outputs."""

    ENFORCE = "Enforce"
    WARN = "Warn"
    OFF = "Off"


class Pause(ApiModel):
    """What is waited for after a step has passed; empty: a person's approval."""

    duration: Annotated[str, base.duration("1s", "168h")] | None = None
    """How long to wait; absent: until somebody approves the step."""


class Step(ApiModel):
    """One share of the traffic, and what must be seen at it."""

    weight: Annotated[int, Field(ge=1, le=100)]
    """Percent of the traffic that the canary gets."""
    pause: Pause | None = None
    """Waits after the analysis has passed: `{}` for an approval, `{duration: 10m}` for a time."""


class Capacity(ApiModel):
    """Where the canary's pods come from."""

    mode: CapacityMode = CapacityMode.AUTO
    """Surge: beside stable's. InPlace: one stable pod makes room at a time. Recreate: all of them do, with an outage.

    Auto: Surge as far as GPUs are free now, else InPlace; with one replica and no free GPU it waits."""
    max_surge: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Most pods beyond `replicas` at any time in mode Surge; absent: as many as `replicas`, which makes every rollback
    instant."""
    wait_timeout: Annotated[str, duration("10s", "24h")] = "15m"
    """How long to wait for room."""
    on_timeout: OnTimeout = OnTimeout.HOLD
    """Hold, InPlace or Fail (roll back) when there is no room in time."""


class Margin(ApiModel):
    """How much worse than stable a canary may be: both must be exceeded to count as worse."""

    ratio: Annotated[float, Field(ge=1, le=100)] = 1.5
    """Of the canary's share of bad requests to stable's."""
    difference: Annotated[float, Field(ge=0, le=100)]
    """Between the two shares, in percentage points."""


class PromQuery(ApiModel):
    """A query of your own, if the operator's administrator allows them."""

    name: Annotated[str, text(40)]
    """Names the check in the status."""
    query: Annotated[str, text(1024)]
    """PromQL over the canary's series; every selector is confined to this namespace and the canary's revision."""
    baseline: Annotated[str, text(1024)] | None = None
    """The same over stable's series."""
    max: float | None = None
    """The canary's worst series must not be above."""
    min: float | None = None
    """The canary's worst series must not be below."""
    max_ratio: Annotated[float, Field(ge=0, le=1000)] | None = None
    """The canary's value must not exceed the baseline's by this factor."""


class Analysis(ApiModel):
    """When the canary counts as worse than stable. The defaults have measured error rates: `make bench-analysis`."""

    interval: Annotated[str, duration("5s", "1h")] = "60s"
    """Length of a window; each is looked at once."""
    warmup: Annotated[str, duration("0s", "1h")] = "60s"
    """At the beginning of a step that is not looked at."""
    looks: Annotated[int, Field(ge=1, le=100)] = 10
    """Windows that a step takes before it may pass."""
    max_looks: Annotated[int, Field(ge=1, le=1000)] = 30
    """Windows after which a step that is still open is held for a person."""
    confirmations: Annotated[int, Field(ge=1, le=10)] = 2
    """Looks running that must agree before the canary is rolled back."""
    min_requests: Annotated[int, Field(ge=1, le=10_000_000)] = 500
    """Requests of each revision without which a step does not pass."""
    errors: Margin = Margin(difference=0.2)
    """How many more requests may fail."""
    max_errors: Annotated[float, Field(ge=0, le=100)] | None = None
    """Percent of requests that may fail, whatever stable does."""
    slow: Margin = Margin(difference=0.5)
    """How many more requests may be slower than stable's 99th percentile."""
    on_too_few_requests: OnTooFewRequests = OnTooFewRequests.HOLD
    """Hold, PassOnProbe (golden requests alone decide, recorded as unproven) or Rollback."""
    on_metrics_error: OnMetricsError = OnMetricsError.HOLD
    """Hold or Rollback when metrics have stayed away for `metricsTimeout`; until then the weight stays."""
    metrics_timeout: Annotated[str, duration("1m", "24h")] = "30m"
    """How long metrics may stay away."""
    bake: Annotated[str, duration("0s", "24h")] = "10m"
    """How long the canary is watched at 100 % before it becomes stable, stable's pods standing by."""
    queries: Annotated[tuple[PromQuery, ...], items(QUERIES_MAX, key="name")] = ()
    """Further checks against Prometheus."""


class Golden(ApiModel):
    """Requests whose answers are known."""

    config_map_name: ObjectName
    """Holds the requests; its form is described in docs/how-to/roll-out.md."""
    key: Annotated[str, text(253)] = "golden.json"
    """Of the ConfigMap's data."""


class VerificationPolicy(ApiModel):
    """What the canary is asked before any user sees it."""

    contract: ContractPolicy = ContractPolicy.ENFORCE
    """Whether inputs, outputs, batching and decoupling must fit stable's clients: Enforce, Warn or Off."""
    golden: Golden | None = None
    """Requests whose answers are known; also asked once in every window."""


class Canary(ApiModel):
    """How a new revision earns its traffic; what is absent has the default that suits most."""

    steps: Annotated[tuple[Step, ...], items(STEPS_MAX)] = ()
    """Ascending shares of the traffic; 100 % follows by itself."""
    capacity: Capacity = Capacity()
    """Where the canary's pods come from."""
    verification: VerificationPolicy = VerificationPolicy()
    """What is asked before any user sees it."""
    analysis: Analysis = Analysis()
    """When it counts as worse than stable."""
