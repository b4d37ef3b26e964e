"""What to measure during a rollout, and how a gateway's counters are counted.

`measurement_of()` derives from the object alone which revisions to measure, from when on, and the length of a window;
`runtime/canary_monitor.py` does it. If the traffic passes a gateway, its counters are scraped as well:
`revisions_by_cluster` names the series of each revision, `count_gateway()` takes the difference of two scrapes, and
`merge_gateway_counts()` adds failures that only the gateway saw.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from tritonfleet.api.canary import Analysis, ContractPolicy, Golden, PromQuery
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.api.slo import MetricsSource
from tritonfleet.plan.objects import backends
from tritonfleet.plan.rollout.analysis import PodCounts, RevisionCounts
from tritonfleet.plan.rollout.state import EPOCH, FULL_WEIGHT, WATCHED_STEP, Attempt, Phase, Standby, State
from tritonfleet.plan.world import Manifest


@dataclass(frozen=True, slots=True)
class MeasurementKey:
    """What stays the same during a window; a window never spans two keys."""

    canary: str
    attempt: int
    step: int
    weight: int
    """The applied weight, in percent."""


@dataclass(frozen=True, slots=True)
class MeasurementSpec:
    """What to measure of one rollout."""

    key: MeasurementKey
    stable: str
    model: str
    opens_seconds: float
    """Seconds since the epoch, before which no window begins: after the warm-up and the last analyzed window."""
    interval_seconds: float
    verifies: bool
    """Whether the canary has to be verified, before it gets traffic."""
    by_gateway: bool
    source: MetricsSource
    """The source of latencies."""
    contract: ContractPolicy
    golden: Golden | None
    queries: tuple[PromQuery, ...]
    """Custom queries to run at the end of each window."""
    pod_warmup_seconds: float = 0.0
    """How long a pod of the canary warms up after its first traffic."""
    traffic_since_seconds: float = 0.0
    """Seconds since the epoch, before which the canary had no traffic; pods may have become ready later."""

    @property
    def alone(self) -> bool:
        """Whether the canary has all traffic, so that there is no stable to compare with."""
        return self.key.weight >= 100

    @property
    def probes(self) -> bool:
        """Whether golden requests are sent in each window."""
        return self.golden is not None and self.key.weight > 0

    def desired_share(self, canary_ready: int, stable_ready: int) -> float:
        """Return the share of all requests that should reach the canary, 0..1.

        With a gateway it is the weight. Without one a request goes to any ready pod of the front Service.
        """
        weight = self.key.weight
        if self.by_gateway or weight in (0, 100):
            return weight / 100
        return canary_ready / max(1, canary_ready + stable_ready)


def measurement_of(body: Manifest, state: State) -> MeasurementSpec | None:
    """Return what to measure of a ModelDeployment's rollout; None if nothing.

    The plan is that of the rollout's start; later edits of the spec do not change it.
    """
    attempt = state.attempt
    if state.phase is Phase.STABLE and state.standby is not None:
        return _after_promotion(body, state, state.standby)
    if attempt is None or not state.stable:
        return None
    with_traffic = attempt.applied_weight > 0 and state.traits.has_traffic
    before_traffic = attempt.applied_weight == 0 and state.traits.before_traffic
    if not with_traffic and not before_traffic:
        return None
    spec, plan = body["spec"], attempt.plan
    return MeasurementSpec(
        key=MeasurementKey(attempt.canary, state.attempts, attempt.step, attempt.applied_weight),
        stable=state.stable,
        model=(spec.get("model") or {}).get("name") or body["metadata"]["name"],
        opens_seconds=_opens(state, attempt, with_traffic=with_traffic),
        interval_seconds=duration_seconds(plan.analysis.interval),
        verifies=state.phase is Phase.VERIFYING and not attempt.verified,
        by_gateway=bool((spec.get("traffic") or {}).get("gateway")),
        source=MetricsSource((spec.get("metrics") or {}).get("source", MetricsSource.AUTO)),
        contract=plan.verification.contract,
        golden=plan.verification.golden,
        queries=plan.analysis.queries if with_traffic else (),
        pod_warmup_seconds=duration_seconds(plan.analysis.pod_warmup),
        # In later steps older pods have had traffic for the whole step before.
        traffic_since_seconds=attempt.step_entered_at.timestamp() if attempt.step == 0 else 0.0,
    )


def _after_promotion(body: Manifest, state: State, standby: Standby) -> MeasurementSpec:
    """Return what to measure while the previous revision is retained: the promoted one, which has all traffic."""
    spec = body["spec"]
    analysis = ((spec.get("rollout") or {}).get("canary") or {}).get("analysis") or {}
    last_end = standby.analysis.last_end_seconds if standby.analysis is not None else None
    return MeasurementSpec(
        key=MeasurementKey(state.stable, state.attempts, WATCHED_STEP, FULL_WEIGHT),
        stable=standby.revision,
        model=(spec.get("model") or {}).get("name") or body["metadata"]["name"],
        opens_seconds=max(state.entered_at.timestamp(), last_end or 0.0),
        interval_seconds=duration_seconds(analysis.get("interval") or Analysis().interval),
        verifies=False,
        by_gateway=bool((spec.get("traffic") or {}).get("gateway")),
        source=MetricsSource((spec.get("metrics") or {}).get("source", MetricsSource.AUTO)),
        contract=ContractPolicy.OFF,
        golden=None,
        queries=(),
    )


def _opens(state: State, attempt: Attempt, *, with_traffic: bool) -> float:
    """Return when windows may begin; the warm-up starts when the weight is applied."""
    opens = attempt.step_entered_at.timestamp()
    if with_traffic:
        shifted = next((record.at for record in state.history if record.source is Phase.SHIFTING), EPOCH)
        # A clock that was ahead may have recorded it later than what followed.
        opens = max(opens, min(shifted, state.entered_at).timestamp()) + duration_seconds(attempt.plan.analysis.warmup)
    last_end = attempt.analysis.last_end_seconds if attempt.analysis is not None else None
    return max(opens, last_end) if last_end is not None else opens


GatewayLabels = frozenset[tuple[str, str]]
GatewayCounters = Mapping[GatewayLabels, float]
"""Raw counters of one route at one time, by all their labels."""

GATEWAY_CLUSTER: Final = "envoy_cluster_name"
GATEWAY_BUCKETS: Final = "envoy_cluster_upstream_rq_time_bucket"
GATEWAY_STATUSES: Final = "envoy_cluster_upstream_rq_xx"
GATEWAY_RESETS: Final = "envoy_cluster_upstream_rq_tx_reset"
"""Requests that Envoy gave up on before they were answered, as the client did."""
GATEWAY_STATUS_CLASS: Final = "envoy_response_code_class"
GATEWAY_GRPC: Final = re.compile(r"envoy_cluster_grpc_.+_([0-9]+)")
"""Envoy puts the method and the code into the metric's name."""

_SERVERS: Final = frozenset({2, 4, 8, 13, 14, 15})
_CLIENTS: Final = frozenset({3, 5, 6, 7, 9, 10, 11, 12, 16})
"""gRPC status codes caused by the server, and by the request; 1 (CANCELLED) is caused by the client."""
_COUNTED: Final = frozenset({"__name__", "le", GATEWAY_CLUSTER, GATEWAY_STATUS_CLASS})


@dataclass(frozen=True, slots=True)
class GatewayCounts:
    """A gateway's counts for one revision in one window."""

    timed: Mapping[str, PodCounts] = field(default_factory=dict)
    """Timed requests by instance of the gateway."""
    failed: int = 0
    """Responses that blame the server: HTTP 5xx, and the corresponding gRPC codes."""
    refused: int = 0
    """Responses that blame the request: HTTP 4xx, and the corresponding gRPC codes."""
    canceled: int = 0
    """Requests that were not answered before the client gave up."""
    partial: bool = False
    """Whether an instance was left out, so that the pods answered more requests than were counted here."""

    def bad(self, *, alone: bool) -> int:
        """Return the failures; without a stable revision to compare with, invalid requests do not count."""
        return self.failed if alone else self.failed + self.refused


def count_gateway(
    before: GatewayCounters, after: GatewayCounters, revisions: Mapping[str, str]
) -> Mapping[str, GatewayCounts]:
    """Return the counts of each revision's clusters; a revision without latencies at both ends is left out.

    An instance of the gateway that is missing at either end is left out: it may have counted for weeks. Of one that is
    there, a new series counts from zero, and so do all of them if one fell, since the instance restarted then.
    """
    firsts, lasts = _by_instance(before), _by_instance(after)
    timed: dict[str, dict[str, dict[float, int]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(int)))
    failed: dict[str, int] = defaultdict(int)
    refused: dict[str, int] = defaultdict(int)
    canceled: dict[str, int] = defaultdict(int)
    for instance in sorted(firsts.keys() & lasts.keys()):
        first, last = firsts[instance], lasts[instance]
        if any(last.get(series, value) < value for series, value in first.items()):
            first = {}
        for series, value in last.items():
            known = dict(series)
            revision = revisions.get(known.get(GATEWAY_CLUSTER, ""))
            if revision is None:
                continue
            gained = round(value - first.get(series, 0.0))
            if known.get("__name__") == GATEWAY_BUCKETS:
                timed[revision][instance][_bound(known)] += gained
            elif known.get("__name__") == GATEWAY_RESETS:
                canceled[revision] += gained
            elif blame := _blame(known):
                (failed if blame > 0 else refused)[revision] += gained
    partial = firsts.keys() != lasts.keys()
    return {
        revision: GatewayCounts(
            {instance: _counts(buckets) for instance, buckets in instances.items()},
            failed[revision],
            refused[revision],
            canceled[revision],
            partial,
        )
        for revision, instances in timed.items()
    }


def _by_instance(counters: GatewayCounters) -> Mapping[str, Mapping[GatewayLabels, float]]:
    """Return each instance's counters by the labels that tell its series apart; of duplicates the largest.

    A pod that is scraped twice has two of each series, which differ in labels such as `job`.
    """
    found: dict[str, dict[GatewayLabels, float]] = defaultdict(dict)
    for labels, value in counters.items():
        series = frozenset(label for label in labels if label[0] in _COUNTED)
        own = found[_instance(dict(labels))]
        own[series] = max(value, own.get(series, 0.0))
    return found


def _instance(labels: Mapping[str, str]) -> str:
    if labels.get("pod"):
        return f"{labels.get('namespace', '')}/{labels['pod']}"
    return labels.get("instance") or ",".join(f"{name}={labels[name]}" for name in sorted(labels.keys() - _COUNTED))


def _bound(labels: Mapping[str, str]) -> float:
    return float(labels.get("le", "nan")) / 1000


def _blame(labels: Mapping[str, str]) -> int:
    """Return 1 for a failure caused by the server, -1 for one caused by the request, 0 for the rest."""
    name = labels.get("__name__", "")
    if name == GATEWAY_STATUSES:
        return {"5": 1, "4": -1}.get(labels.get(GATEWAY_STATUS_CLASS, ""), 0)
    code = GATEWAY_GRPC.fullmatch(name)
    if code is None:
        return 0
    return 1 if int(code[1]) in _SERVERS else -1 if int(code[1]) in _CLIENTS else 0


def _counts(buckets: Mapping[float, int]) -> PodCounts:
    timed = buckets.get(float("inf"), 0)
    return PodCounts(timed, 0, timed, {bound: count for bound, count in buckets.items() if bound < float("inf")})


@dataclass(frozen=True, slots=True)
class GatewayFailures:
    """Failures of one revision in all windows with the same key so far, apart from those that were counted partially.

    A gateway's counters are some seconds older than those of the pods, so only sums are compared.
    """

    seen: int = 0
    """Seen by the gateway."""
    errors: int = 0
    """Counted by the pods."""
    refused: int = 0
    """Seen by the gateway only, as far as windows have reported them."""


def merge_gateway_counts(
    revision: RevisionCounts, gateway: GatewayCounts, before: GatewayFailures, *, alone: bool
) -> tuple[RevisionCounts, GatewayFailures]:
    """Return a revision's counts in a window with those of the gateway added, and its failures so far.

    Failures beyond those that the pods counted are added; a window that was counted partially adds none.
    """
    canceled = sum(counts.canceled for counts in revision.pods.values())
    abandoned = max(0, gateway.canceled - canceled) if not gateway.partial else 0
    timed = replace(revision, gateways=gateway.timed, abandoned=abandoned)
    if gateway.partial:
        return timed, before
    seen = before.seen + gateway.bad(alone=alone)
    errors = before.errors + sum(counts.errors for counts in revision.pods.values())
    refused = max(before.refused, seen - errors)
    return replace(timed, refused=refused - before.refused), GatewayFailures(seen, errors, refused)


def _envoy_gateway(namespace: str, route: str, rule: int, backend: int) -> str:
    return f"httproute/{namespace}/{route}/rule/{rule}/backend/{backend}"


CLUSTER_NAMES: Final[Mapping[str, Callable[[str, str, int, int], str]]] = {
    "gateway.envoyproxy.io/gatewayclass-controller": _envoy_gateway,
}
"""By controller name: the name of a backend in its series, given namespace, route, rule and index from 0."""


def revisions_by_cluster(route: Manifest) -> Mapping[str, str] | None:
    """Return the revision of each of the gateway's clusters, for clients that do not send the revision header.

    None if no gateway has accepted the route, if several kinds did, or if the controller's series are not supported:
    Triton's own counters are used then.
    """
    controllers = {parent.get("controllerName", "") for parent in (route.get("status") or {}).get("parents") or ()}
    cluster = CLUSTER_NAMES.get(controllers.pop()) if len(controllers) == 1 else None
    if cluster is None:
        return None
    namespace, name = route["metadata"]["namespace"], route["metadata"]["name"]
    return {
        cluster(namespace, name, rule, backend): revision
        for revision, places in backends(route).items()
        for rule, backend in places
    }
