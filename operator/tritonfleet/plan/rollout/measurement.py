"""What is to be measured of a rollout, and what a gateway counted of it.

`measurement_of()` derives from the object alone which pods to measure, from when on, and for how long at a time;
`runtime/canary_monitor.py` follows it. Where the traffic passes a gateway, its counters are scraped as well:
`revisions_by_cluster` names the series of each revision, `count_gateway()` takes the difference of two scrapes, and
`merge_gateway_counts()` adds what users saw and no pod counted.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from tritonfleet.api.canary import ContractPolicy, Golden, PromQuery
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.api.slo import MetricsSource
from tritonfleet.plan.objects import backends
from tritonfleet.plan.rollout.analysis import PodCounts, RevisionCounts
from tritonfleet.plan.rollout.state import EPOCH, Attempt, Phase, State
from tritonfleet.plan.world import Manifest


@dataclass(frozen=True, slots=True)
class MeasurementKey:
    """Windows with the same key are alike; a window never reaches from one into another."""

    canary: str
    attempt: int
    step: int
    weight: int
    """Percent that is in force."""


@dataclass(frozen=True, slots=True)
class MeasurementSpec:
    """One rollout, as far as something is to be seen of it."""

    key: MeasurementKey
    stable: str
    model: str
    opens_seconds: float
    """Since the epoch: no window begins before, as the warm-up is left out, and none that was judged is seen twice."""
    interval_seconds: float
    verifies: bool
    """Whether the canary is to be asked for its contract and for golden requests before any traffic."""
    by_gateway: bool
    source: MetricsSource
    """Where latencies come from."""
    contract: ContractPolicy
    golden: Golden | None
    queries: tuple[PromQuery, ...]
    """To be asked at the end of each window."""

    @property
    def alone(self) -> bool:
        """Whether there is no stable to compare with any more: the canary gets everything."""
        return self.key.weight >= 100

    @property
    def probes(self) -> bool:
        """Whether golden requests belong to each window."""
        return self.golden is not None and self.key.weight > 0

    def desired_share(self, canary_ready: int, stable_ready: int) -> float:
        """Return the share of all requests that is sent to the canary, 0..1.

        A gateway keeps to its weights. Without one a request goes to any ready pod of the front Service.
        """
        weight = self.key.weight
        if self.by_gateway or weight in (0, 100):
            return weight / 100
        return canary_ready / max(1, canary_ready + stable_ready)


def measurement_of(body: Manifest, state: State) -> MeasurementSpec | None:
    """Return what has to be seen of a ModelDeployment's rollout; None if nothing has.

    The plan is the one that the rollout began with, whatever the spec says by now.
    """
    attempt = state.attempt
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
    )


def _opens(state: State, attempt: Attempt, *, with_traffic: bool) -> float:
    """Return since when windows may begin; the warm-up counts from when the weight was in force."""
    opens = attempt.step_entered_at.timestamp()
    if with_traffic:
        shifted = next((record.at for record in state.history if record.source is Phase.SHIFTING), EPOCH)
        # By a clock that was ahead it may have been later than what followed.
        opens = max(opens, min(shifted, state.entered_at).timestamp()) + duration_seconds(attempt.plan.analysis.warmup)
    last_end = attempt.analysis.last_end_seconds if attempt.analysis is not None else None
    return max(opens, last_end) if last_end is not None else opens


GatewayLabels = frozenset[tuple[str, str]]
GatewayCounters = Mapping[GatewayLabels, float]
"""Raw counters of one route at one moment, by all their labels."""

GATEWAY_CLUSTER: Final = "envoy_cluster_name"
GATEWAY_BUCKETS: Final = "envoy_cluster_upstream_rq_time_bucket"
GATEWAY_STATUSES: Final = "envoy_cluster_upstream_rq_xx"
GATEWAY_STATUS_CLASS: Final = "envoy_response_code_class"
GATEWAY_GRPC: Final = re.compile(r"envoy_cluster_grpc_.+_([0-9]+)")
"""Envoy has the method and the code in the metric's name."""

_SERVERS: Final = frozenset({2, 4, 8, 13, 14, 15})
_CLIENTS: Final = frozenset({3, 5, 6, 7, 9, 10, 11, 12, 16})
"""Codes of gRPC that speak of the server, and of the request; 1 is a client that went away."""
FEWEST_UNSEEN: Final = 10
_COUNTED: Final = frozenset({"__name__", "le", GATEWAY_CLUSTER, GATEWAY_STATUS_CLASS})


@dataclass(frozen=True, slots=True)
class GatewayCounts:
    """What a gateway counted of one revision in one window."""

    timed: Mapping[str, PodCounts] = field(default_factory=dict)
    """By instance of the gateway."""
    failed: int = 0
    """Answers that blame the server: HTTP 5xx, and what gRPC calls so."""
    refused: int = 0
    """Answers that blame the request: HTTP 4xx, and what gRPC calls so."""

    def bad(self, *, alone: bool) -> int:
        """Return the failures; without a stable beside it a canary is not blamed for what clients send."""
        return self.failed if alone else self.failed + self.refused


def count_gateway(
    before: GatewayCounters, after: GatewayCounters, revisions: Mapping[str, str]
) -> Mapping[str, GatewayCounts]:
    """Return what each revision's clusters counted; one that has no latency at both ends is left out.

    A counter that fell counts from zero, and so does one that is new while others of the route were there before.
    """
    timed: dict[str, dict[str, dict[float, int]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(int)))
    failed: dict[str, int] = defaultdict(int)
    refused: dict[str, int] = defaultdict(int)
    for labels, value in after.items():
        known = dict(labels)
        revision = revisions.get(known.get(GATEWAY_CLUSTER, ""))
        if revision is None or not before:
            continue
        first = before.get(labels, 0.0)
        gained = round(value - first if value >= first else value)
        if known.get("__name__") == GATEWAY_BUCKETS:
            timed[revision][_instance(known)][_bound(known)] += gained
        elif blame := _blame(known):
            (failed if blame > 0 else refused)[revision] += gained
    return {
        revision: GatewayCounts(
            {instance: _counts(buckets) for instance, buckets in instances.items()},
            failed[revision],
            refused[revision],
        )
        for revision, instances in timed.items()
    }


def unseen(seen: int, errors: int) -> int:
    """Return how many of the failures that a gateway has `seen` no pod counted among its `errors`.

    A gateway's numbers are some seconds older than those of the pods, so nothing is made of a difference that a delay
    explains: it must have seen more than twice as many.
    """
    excess = seen - errors
    return excess if excess >= FEWEST_UNSEEN and seen > 2 * errors else 0


def _instance(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={labels[name]}" for name in sorted(labels.keys() - _COUNTED))


def _bound(labels: Mapping[str, str]) -> float:
    return float(labels.get("le", "nan")) / 1000


def _blame(labels: Mapping[str, str]) -> int:
    """Return 1 for what blames the server, -1 for what blames the request, 0 for the rest."""
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
    """Failures of one revision in all windows with the same key so far."""

    seen: int = 0
    """By the gateway."""
    errors: int = 0
    """By the pods."""
    refused: int = 0
    """Those that no pod has counted, as far as windows have told of them."""


def merge_gateway_counts(
    revision: RevisionCounts, gateway: GatewayCounts, before: GatewayFailures, *, alone: bool
) -> tuple[RevisionCounts, GatewayFailures]:
    """Return what a revision did in a window with what the gateway saw of it, and its failures after it."""
    seen = before.seen + gateway.bad(alone=alone)
    errors = before.errors + sum(counts.errors for counts in revision.pods.values())
    refused = max(before.refused, unseen(seen, errors))
    return replace(revision, gateways=gateway.timed, refused=refused - before.refused), GatewayFailures(
        seen, errors, refused
    )


def _envoy_gateway(namespace: str, route: str, rule: int, backend: int) -> str:
    return f"httproute/{namespace}/{route}/rule/{rule}/backend/{backend}"


CLUSTER_NAMES: Final[Mapping[str, Callable[[str, str, int, int], str]]] = {
    "gateway.envoyproxy.io/gatewayclass-controller": _envoy_gateway,
}
"""By the name of the controller: what its series call a backend, given namespace, route, rule and place from 0."""


def revisions_by_cluster(route: Manifest) -> Mapping[str, str] | None:
    """Return which revision each of the gateway's clusters is, for what clients without the revision header get.

    None while no gateway has taken the route, if several kinds did, or for one whose series are not known: then there
    are Triton's own counters.
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
