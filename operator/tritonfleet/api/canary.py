"""`spec.rollout.canary`: how a new revision earns its traffic."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from tritonfleet.api import base
from tritonfleet.api.base import ApiModel, DataKey, ObjectName, Rule, duration, items, matching, rule, text

STEPS_MAX = 10
QUERIES_MAX = 8

Ratio = Annotated[float, Field(ge=1, le=100)]
Percent = Annotated[float, Field(ge=0, le=100)]
Value = Annotated[float, Field(ge=-1_000_000_000_000, le=1_000_000_000_000)]


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

    duration: Annotated[str, base.duration("1s", "168h", in_list=True)] | None = None
    """How long to wait; absent: until somebody approves the step."""


class Step(ApiModel):
    """One share of the traffic, and what must be seen at it."""

    weight: Annotated[int, Field(ge=1, le=100)]
    """Percent of the traffic that the canary gets."""
    pause: Pause | None = None
    """Waits after the analysis has passed: `{}` for an approval, `{duration: 10m}` for a time."""


# Where every field of an object has a default, Kubernetes tries its rules on `{}` before it fills the defaults in:
# hence `has` of fields that are always there.
class Capacity(ApiModel):
    """Where the canary's pods come from."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "!has(self.maxSurge) || self.mode in ['Auto', 'Surge']",
            "must be absent unless `mode` is 'Auto' or 'Surge': no pods are added otherwise",
            got="self.maxSurge",
            at=".maxSurge",
        ),
        rule(
            "!has(self.onTimeout) || self.onTimeout != 'InPlace' || self.mode in ['Auto', 'Surge']",
            "must be 'Hold' or 'Fail' unless `mode` is 'Auto' or 'Surge'",
            got="self.onTimeout",
            at=".onTimeout",
        ),
    )

    mode: CapacityMode = CapacityMode.AUTO
    """Surge: beside stable's. InPlace: stable pods make room, one at a time. Recreate: all at once, with an outage.

    Auto: Surge as far as GPUs are free now, else InPlace; with one replica and no free GPU it waits."""
    max_surge: Annotated[int, base.at_least_one(1000, "to add no pods, set `mode: InPlace`")] | None = None
    """Most pods beyond `replicas`; absent: as many as `replicas`, which makes every rollback instant."""
    wait_timeout: Annotated[str, duration("10s", "24h")] = "15m"
    """How long to wait for room."""
    on_timeout: OnTimeout = OnTimeout.HOLD
    """Hold, InPlace or Fail (roll back) when there is no room in time."""


class ErrorMargin(ApiModel):
    """How many more requests may fail than of stable: both limits must be exceeded to count as worse."""

    ratio: Ratio = 1.5
    """Of the canary's share of failed requests to stable's."""
    difference: Percent = 0.2
    """Between the two shares, in percentage points."""


class LatencyMargin(ApiModel):
    """How many more requests may be slower than stable's 99th percentile: both limits must be exceeded to count."""

    ratio: Ratio = 1.5
    """Of the canary's share of slow requests to stable's."""
    difference: Percent = 0.5
    """Between the two shares, in percentage points."""


class PromQuery(ApiModel):
    """A query of your own, if the operator's administrator allows them."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "has(self.max) || has(self.min) || has(self.maxRatio)",
            "must have `max`, `min` or `maxRatio`: nothing is checked otherwise",
        ),
        rule(
            "!has(self.max) || !has(self.min) || self.min <= self.max",
            "must not be above `max`",
            got="self.min",
            at=".min",
        ),
        rule(
            "has(self.maxRatio) == has(self.baseline)",
            "must come with `baseline`, and `baseline` with it",
            at=".maxRatio",
        ),
    )

    name: Annotated[str, matching(40, "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "must be lowercase letters, digits and '-'")]
    """Names the check in the status."""
    query: Annotated[str, text(1024)]
    """PromQL over the canary's series; every selector is confined to this namespace and the canary's revision."""
    baseline: Annotated[str, text(1024)] | None = None
    """The same over stable's series."""
    max: Value | None = None
    """The canary's worst series must not be above."""
    min: Value | None = None
    """The canary's worst series must not be below."""
    max_ratio: Annotated[float, Field(ge=0, le=1000)] | None = None
    """The canary's value must not exceed the baseline's by this factor."""


class Analysis(ApiModel):
    """When the canary counts as worse than stable. The defaults have measured error rates: `make bench-analysis`."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "!has(self.windows) || self.windows <= self.maxWindows",
            "must not be above `maxWindows`",
            got="self.windows",
            at=".windows",
        ),
        rule(
            "!has(self.windows) || self.failureThreshold <= self.maxWindows",
            "must not be above `maxWindows`: the canary would never be rolled back",
            got="self.failureThreshold",
            at=".failureThreshold",
        ),
    )

    interval: Annotated[str, duration("5s", "1h")] = "60s"
    """Length of a window; each is evaluated once."""
    warmup: Annotated[str, duration("0s", "1h")] = "60s"
    """At the beginning of a step, before its first window."""
    windows: Annotated[int, Field(ge=1, le=100)] = 10
    """Windows that a step takes before it may pass."""
    max_windows: Annotated[int, Field(ge=1, le=1000)] = 30
    """Windows after which a step that is still open is held for a person."""
    failure_threshold: Annotated[int, Field(ge=1, le=10)] = 2
    """Consecutive windows that must fail before the canary is rolled back."""
    min_requests: Annotated[int, Field(ge=1, le=10_000_000)] = 500
    """Requests of each revision without which a step does not pass."""
    error_rate: ErrorMargin = ErrorMargin()
    """How many more requests may fail."""
    max_error_rate: Annotated[float, Field(ge=0, le=100)] | None = None
    """Percent of requests that may fail, whatever stable does."""
    latency: LatencyMargin = LatencyMargin()
    """How many more requests may be slower than stable's 99th percentile."""
    on_too_few_requests: OnTooFewRequests = OnTooFewRequests.HOLD
    """Hold, PassOnProbe (golden requests alone decide, recorded as unproven) or Rollback."""
    on_metrics_error: OnMetricsError = OnMetricsError.HOLD
    """Hold or Rollback when metrics have stayed away for `metricsTimeout`; until then the weight stays."""
    metrics_timeout: Annotated[str, duration("1m", "24h")] = "30m"
    """How long metrics may stay away."""
    bake_time: Annotated[str, duration("0s", "24h")] = "10m"
    """How long the canary is watched at 100 % before it becomes stable, stable's pods standing by."""
    queries: Annotated[tuple[PromQuery, ...], items(QUERIES_MAX, key="name")] = ()
    """Further checks against Prometheus."""


class Golden(ApiModel):
    """Requests whose answers are known."""

    config_map_name: Annotated[
        ObjectName, Field(description="The ConfigMap with the requests; see docs/how-to/golden-requests.md.")
    ]
    key: DataKey = "golden.json"
    """Where in it they are."""


class VerificationPolicy(ApiModel):
    """What the canary is asked before any user sees it."""

    contract: ContractPolicy = ContractPolicy.ENFORCE
    """Whether inputs, outputs, batching and decoupling must fit stable's clients: Enforce, Warn or Off."""
    golden: Golden | None = None
    """Requests whose answers are known; also asked once in every window."""


_ASCENDING = rule(
    "self.map(s, s.weight).isSorted() && self.all(s, self.exists_one(t, t.weight == s.weight))",
    "must have weights that rise from step to step",
    got="self.map(s, s.weight)",
)


class Canary(ApiModel):
    """How a new revision earns its traffic; what is absent has the default that suits most."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "self.analysis.onTooFewRequests != 'PassOnProbe' || has(self.verification.golden)",
            "must come with `verification.golden`: nothing would be asked",
            got="self.analysis.onTooFewRequests",
            at=".analysis.onTooFewRequests",
        ),
    )

    steps: Annotated[tuple[Step, ...], items(STEPS_MAX, _ASCENDING)] = ()
    """Ascending shares of the traffic; 100 % follows by itself."""
    capacity: Capacity = Capacity()
    """Where the canary's pods come from."""
    verification: VerificationPolicy = VerificationPolicy()
    """What is asked before any user sees it."""
    analysis: Analysis = Analysis()
    """When it counts as worse than stable."""
