"""`spec.rollout.canary`: the steps, verification and analysis of a canary."""

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
    """Where the GPUs for the canary's pods come from."""

    AUTO = "Auto"
    SURGE = "Surge"
    IN_PLACE = "InPlace"
    RECREATE = "Recreate"


class OnTimeout(StrEnum):
    """What happens when capacity is not found in time."""

    HOLD = "Hold"
    IN_PLACE = "InPlace"
    FAIL = "Fail"


class OnTooFewRequests(StrEnum):
    """What happens to a step with too few requests."""

    HOLD = "Hold"
    PASS_ON_PROBE = "PassOnProbe"  # noqa: S105 - no password
    ROLLBACK = "Rollback"


class OnMetricsError(StrEnum):
    """What happens when metrics are missing."""

    HOLD = "Hold"
    ROLLBACK = "Rollback"


class ContractPolicy(StrEnum):
    """What happens when the model's inputs or outputs change."""

    ENFORCE = "Enforce"
    WARN = "Warn"
    OFF = "Off"


class Pause(ApiModel):
    """Pause after a step has passed; empty: until it is approved."""

    duration: Annotated[str, base.duration("1s", "168h", in_list=True)] | None = None
    """Length of the pause; absent: until the step is approved."""


class Step(ApiModel):
    """One weight of the canary, and an optional pause after it."""

    weight: Annotated[int, Field(ge=1, le=100)]
    """Percent of the traffic to the canary."""
    pause: Pause | None = None
    """Pause after the analysis has passed: `{}` until approval, `{duration: 10m}` for a time."""


# Where every field of an object has a default, Kubernetes tries its rules on `{}` before it fills the defaults in:
# hence `has` of fields that are always there.
class Capacity(ApiModel):
    """Where the GPUs for the canary's pods come from."""

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
    """Surge: extra pods. InPlace: replaces stable pods one at a time. Recreate: replaces all at once, with an outage.

    Auto: Surge with the GPUs that are free, else InPlace; with one replica and no free GPU it waits."""
    max_surge: Annotated[int, base.at_least_one(1000, "to add no pods, set `mode: InPlace`")] | None = None
    """Maximum of pods beyond `replicas`; absent: `replicas`, which makes every rollback instant."""
    wait_timeout: Annotated[str, duration("10s", "24h")] = "15m"
    """How long to wait for capacity."""
    on_timeout: OnTimeout = OnTimeout.HOLD
    """Hold, InPlace or Fail (roll back) after `waitTimeout`."""


class ErrorMargin(ApiModel):
    """Tolerated increase of the error rate over stable's: the canary is worse if it exceeds both limits."""

    ratio: Ratio = 1.5
    """Ratio of the canary's error rate to stable's."""
    difference: Percent = 0.2
    """Difference of the two shares, in percentage points."""


class LatencyMargin(ApiModel):
    """Tolerated increase of slow requests (above stable's 99th percentile): worse if both limits are exceeded."""

    ratio: Ratio = 1.5
    """Ratio of the canary's share of slow requests to stable's."""
    difference: Percent = 0.5
    """Difference of the two shares, in percentage points."""


class PromQuery(ApiModel):
    """A custom query, if the operator's administrator allows them."""

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
    """Name of the check in the status."""
    query: Annotated[str, text(1024)]
    """PromQL over the canary's series; every selector is confined to this namespace and the canary's revision."""
    baseline: Annotated[str, text(1024)] | None = None
    """PromQL over stable's series."""
    max: Value | None = None
    """Maximum of the canary's worst series."""
    min: Value | None = None
    """Minimum of the canary's worst series."""
    max_ratio: Annotated[float, Field(ge=0, le=1000)] | None = None
    """Maximum ratio of the canary's value to the baseline's."""


class Analysis(ApiModel):
    """When the canary is worse than stable. The defaults' error rates are measured: `make bench-analysis`."""

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
    """Time before the first window of a step."""
    pod_warmup: Annotated[str, duration("0s", "1h")] = "4m"
    """How long a new pod's latency fails nothing: caches fill and kernels are tuned meanwhile. Errors count at once."""
    windows: Annotated[int, Field(ge=1, le=100)] = 10
    """Windows before a step may pass."""
    max_windows: Annotated[int, Field(ge=1, le=1000)] = 30
    """Windows after which an undecided step is held."""
    failure_threshold: Annotated[int, Field(ge=1, le=10)] = 2
    """Consecutive windows that must fail before the canary is rolled back."""
    min_requests: Annotated[int, Field(ge=1, le=10_000_000)] = 500
    """Requests that each revision needs before a step passes."""
    error_rate: ErrorMargin = ErrorMargin()
    """Tolerated increase of the error rate over stable's."""
    max_error_rate: Annotated[float, Field(ge=0, le=100)] | None = None
    """Maximum percent of failed requests, regardless of stable's."""
    latency: LatencyMargin = LatencyMargin()
    """Tolerated increase of slow requests (above stable's 99th percentile)."""
    on_too_few_requests: OnTooFewRequests = OnTooFewRequests.HOLD
    """Hold, PassOnProbe (golden requests alone decide; recorded as unproven) or Rollback."""
    on_metrics_error: OnMetricsError = OnMetricsError.HOLD
    """Hold or Rollback when metrics are missing for `metricsTimeout`; until then the weight stays."""
    metrics_timeout: Annotated[str, duration("1m", "24h")] = "30m"
    """How long metrics may be missing."""
    bake_time: Annotated[str, duration("0s", "24h")] = "10m"
    """How long the canary is analyzed at 100% before it becomes stable, with stable's pods on standby."""
    queries: Annotated[tuple[PromQuery, ...], items(QUERIES_MAX, key="name")] = ()
    """Custom checks with PromQL."""


class Golden(ApiModel):
    """Requests with known responses."""

    config_map_name: Annotated[
        ObjectName, Field(description="The ConfigMap with the requests; see docs/how-to/golden-requests.md.")
    ]
    key: DataKey = "golden.json"
    """Key in the ConfigMap."""


class VerificationPolicy(ApiModel):
    """Checks of the canary before it gets traffic."""

    contract: ContractPolicy = ContractPolicy.ENFORCE
    """Whether inputs, outputs, batching and decoupling must be compatible with stable's: Enforce, Warn or Off."""
    golden: Golden | None = None
    """Requests with known responses; also sent in every window of the analysis."""


_ASCENDING = rule(
    "self.map(s, s.weight).isSorted() && self.all(s, self.exists_one(t, t.weight == s.weight))",
    "must have weights that rise from step to step",
    got="self.map(s, s.weight)",
)


class Canary(ApiModel):
    """The steps, verification and analysis of a canary."""

    rules: ClassVar[tuple[Rule, ...]] = (
        rule(
            "self.analysis.onTooFewRequests != 'PassOnProbe' || has(self.verification.golden)",
            "must come with `verification.golden`: there are no golden requests otherwise",
            got="self.analysis.onTooFewRequests",
            at=".analysis.onTooFewRequests",
        ),
    )

    steps: Annotated[tuple[Step, ...], items(STEPS_MAX, _ASCENDING)] = ()
    """Ascending weights; 100% is added as the last step."""
    capacity: Capacity = Capacity()
    """Where the GPUs for the canary's pods come from."""
    verification: VerificationPolicy = VerificationPolicy()
    """Checks before the canary gets traffic."""
    analysis: Analysis = Analysis()
    """When the canary is worse than stable."""
