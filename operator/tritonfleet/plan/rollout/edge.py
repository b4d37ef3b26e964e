"""What a gateway counted between two moments, by revision: latencies that users saw, and failures that no pod did."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from tritonfleet.plan.rollout.analysis import PodCounts, RevisionCounts

Labels = frozenset[tuple[str, str]]
Counters = Mapping[Labels, float]
"""Raw counters of one route at one moment, by all their labels."""

CLUSTER: Final = "envoy_cluster_name"
BUCKETS: Final = "envoy_cluster_upstream_rq_time_bucket"
STATUSES: Final = "envoy_cluster_upstream_rq_xx"
STATUS_CLASS: Final = "envoy_response_code_class"
GRPC: Final = re.compile(r"envoy_cluster_grpc_.+_([0-9]+)")
"""Envoy has the method and the code in the metric's name."""

_SERVERS: Final = frozenset({2, 4, 8, 13, 14, 15})
_CLIENTS: Final = frozenset({3, 5, 6, 7, 9, 10, 11, 12, 16})
"""Codes of gRPC that speak of the server, and of the request; 1 is a client that went away."""
FEWEST_UNSEEN: Final = 10
_COUNTED: Final = frozenset({"__name__", "le", CLUSTER, STATUS_CLASS})


@dataclass(frozen=True, slots=True)
class Edge:
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


def edges(before: Counters, after: Counters, revisions: Mapping[str, str]) -> Mapping[str, Edge]:
    """Return what each revision's clusters counted; one that has no latency at both ends is left out.

    A counter that fell counts from zero, and so does one that is new while others of the route were there before.
    """
    timed: dict[str, dict[str, dict[float, int]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(int)))
    failed: dict[str, int] = defaultdict(int)
    refused: dict[str, int] = defaultdict(int)
    for labels, value in after.items():
        known = dict(labels)
        revision = revisions.get(known.get(CLUSTER, ""))
        if revision is None or not before:
            continue
        first = before.get(labels, 0.0)
        gained = round(value - first if value >= first else value)
        if known.get("__name__") == BUCKETS:
            timed[revision][_instance(known)][_bound(known)] += gained
        elif blame := _blame(known):
            (failed if blame > 0 else refused)[revision] += gained
    return {
        revision: Edge(
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
    if name == STATUSES:
        return {"5": 1, "4": -1}.get(labels.get(STATUS_CLASS, ""), 0)
    code = GRPC.fullmatch(name)
    if code is None:
        return 0
    return 1 if int(code[1]) in _SERVERS else -1 if int(code[1]) in _CLIENTS else 0


def _counts(buckets: Mapping[float, int]) -> PodCounts:
    timed = buckets.get(float("inf"), 0)
    return PodCounts(timed, 0, timed, {bound: count for bound, count in buckets.items() if bound < float("inf")})


@dataclass(frozen=True, slots=True)
class Tally:
    """Failures of one revision in all windows of a segment so far."""

    seen: int = 0
    """By the gateway."""
    errors: int = 0
    """By the pods."""
    refused: int = 0
    """Those that no pod has counted, as far as windows have told of them."""


def told(revision: RevisionCounts, edge: Edge, tally: Tally, *, alone: bool) -> tuple[RevisionCounts, Tally]:
    """Return what a revision did in a window with what the gateway saw of it, and the tally after it."""
    seen = tally.seen + edge.bad(alone=alone)
    errors = tally.errors + sum(counts.errors for counts in revision.pods.values())
    refused = max(tally.refused, unseen(seen, errors))
    return replace(revision, edges=edge.timed, refused=refused - tally.refused), Tally(seen, errors, refused)
