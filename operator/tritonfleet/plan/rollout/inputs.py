"""The inputs of a rollout's decisions, apart from its state: observed pods, traffic split, metrics and requests.

The planner gathers one `RolloutInputs` per pass. `observed_split()` reads the canary's weight, and whether it is
applied, from the HTTPRoute or from the selector of the front Service. `pod_that_needs_room()` returns the pod template
for which `runtime/controller.py` counts free GPUs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from tritonfleet.api import names
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.resources import HTTP_ROUTE
from tritonfleet.api.rollout import Rollout
from tritonfleet.api.slo import Slo
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.objects import SPLIT_RULES, build_revision, split_seen, split_written, statuses_by_parent
from tritonfleet.plan.pods import RevisionPods
from tritonfleet.plan.rollout.analysis import Evidence
from tritonfleet.plan.rollout.reasons import RolloutReason
from tritonfleet.plan.rollout.state import Attempt, Phase, State, traits_of
from tritonfleet.plan.world import ChildId, Defaults, GpuPool, Manifest, Observed


class Verb(StrEnum):
    """The command; its annotation is `tritonfleet.dev/VERB`. In order of precedence at the same time."""

    ABORT = "abort"
    ROLLBACK_TO = "rollback-to"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    APPROVE = "approve"
    PROMOTE = "promote"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read from `WHAT [by=WHO] [at=WHEN]`."""

    verb: Verb
    revision: str
    """Hash or number of the revision; for RETRY an arbitrary word."""
    step: int | None = None
    """For APPROVE: the step, from 1."""
    by: str = ""
    """Self-reported; not authenticated."""
    at: str = ""
    """Time, RFC 3339 in UTC; distinguishes a request from the same one at another time."""
    problem: str = ""
    """Why it is invalid, and will be refused; `revision` is meaningless then. Empty if it is valid."""

    @property
    def id(self) -> str:
        """Return its identity, as stored in `status.rollout.consumed`; at most 128 characters."""
        step = f":{self.step}" if self.step is not None else ""
        return f"{self.verb}={self.revision}{step}{'@' + self.at if self.at else ''}"


@dataclass(frozen=True, slots=True)
class ObservedSplit:
    """The observed split of the traffic."""

    weight: int | None
    """Percent of the traffic to the canary; None if unknown."""
    settled: bool
    """Whether the last written split is applied: accepted, references resolved, generation observed."""
    problem: str = ""
    """The error that the gateway reports; empty if none."""
    foreign: bool = False
    """Whether another writer has changed it."""


@dataclass(frozen=True, slots=True)
class RolloutInputs:
    """What one pass has observed of a ModelDeployment."""

    target: str
    """The spec's revision, `rollback.toRevision` applied; empty if it cannot be rendered."""
    replicas: int
    """Pods for all traffic, as the spec or the autoscaler wants now."""
    policy: Rollout
    revisions: Mapping[str, RevisionPods] = field(default_factory=dict)
    """By revision hash."""
    by_gateway: bool = False
    """Whether an HTTPRoute splits the traffic; else the Service does, by the ratio of ready pods."""
    split: ObservedSplit = ObservedSplit(None, settled=True)
    headroom: GpuPool | None = None
    """Free GPUs on the nodes that match the canary's pods; None if it needs none, or if not counted yet."""
    gpus_per_pod: int = 0
    evidence: Evidence | None = None
    requests: tuple[Request, ...] = ()
    """All requests of the object, handled ones included, in the order in which they are handled."""
    slo: Slo | None = None
    suspended: bool = False
    """Whether no pod may run."""
    scaled_to_zero: bool = False
    """Whether that is because of `replicas: 0` during a rollout, and not because of `suspend`."""
    older: bool = False
    """Whether `target` comes from `spec.rollback.toRevision`."""


_REQUIRED: Final = ("Accepted", "ResolvedRefs")
"""Conditions that a gateway must report as true, for the generation that was written, before a weight counts."""
_TROUBLE: Final = "PartiallyInvalid"


def observed_split(observed: Observed, state: State, *, by_gateway: bool) -> ObservedSplit:
    """Return the present split of the traffic, and whether it is the one that the state asks for."""
    name = observed.body["metadata"]["name"]
    if by_gateway:
        route = observed.children.get(ChildId(HTTP_ROUTE.kind, name))
        return _by_route(route, state.attempt or Attempt()) if route is not None else ObservedSplit(None, settled=False)
    service = observed.children.get(ChildId("Service", name))
    return (
        _by_service(name, service["spec"].get("selector") or {}, state)
        if service
        else ObservedSplit(None, settled=False)
    )


def _by_service(name: str, selector: dict[str, str], state: State) -> ObservedSplit:
    """Derive the split from the selector, which matches one revision or the pods of all."""
    attempt = state.attempt or Attempt()
    if selector == {names.OWNER_LABEL: name}:
        shared = 0 < attempt.weight < 100
        return ObservedSplit(attempt.weight if shared else attempt.applied_weight, settled=shared)
    previous = state.standby.revision if state.standby is not None else ""
    by_revision = {previous: None, attempt.canary: 100, state.stable: 0}
    revision = selector.get(names.REVISION_LABEL, "")
    if revision not in by_revision or selector != names.serving_selector(name, revision):
        return ObservedSplit(None, settled=False, foreign=True)
    weight = by_revision[revision]
    return ObservedSplit(weight, settled=weight == attempt.weight)


def _by_route(route: Manifest, attempt: Attempt) -> ObservedSplit:
    rules = split_seen(route)
    written = split_written(route)
    weights = {_percent(rule, attempt.canary) for rule in rules}
    weight = weights.pop() if len(weights) == 1 else None
    foreign = rules != [written] * len(SPLIT_RULES)
    reports = list(_reports(route))
    problem = next((text for text, _ in reports if text), "")
    taken = all(taken for _, taken in reports)
    opened = not attempt.is_opening or any(revision == attempt.canary and share for revision, share in written)
    settled = weight == attempt.routed_weight and opened and not foreign and not problem and taken
    return ObservedSplit(weight, settled=settled, problem=problem, foreign=foreign)


def _percent(rule: list[tuple[str, int]], canary: str) -> int | None:
    total = sum(weight for _, weight in rule)
    return round(100 * sum(weight for revision, weight in rule if revision == canary) / total) if total else None


def _reports(route: Manifest) -> Iterator[tuple[str, bool]]:
    """Yield, for each parent, the error that its gateway reports, and whether it has accepted the route."""
    for reference, own in statuses_by_parent(route):
        if not own:
            gateway = f"Gateway '{reference['name']}' in namespace '{reference['namespace']}'"
            yield (
                f"no gateway has accepted the HTTPRoute: check spec.traffic.gateway.parentRefs, which has {gateway}",
                False,
            )
        for parent in own:
            yield _report(parent, route["metadata"].get("generation", 0))


def _report(parent: Manifest, generation: int) -> tuple[str, bool]:
    current = {
        condition["type"]: condition
        for condition in parent.get("conditions") or ()
        if condition.get("observedGeneration", 0) == generation
    }
    bad = [current[type_] for type_ in _REQUIRED if type_ in current and current[type_]["status"] != "True"]
    if _TROUBLE in current and current[_TROUBLE]["status"] == "True":
        bad.append(current[_TROUBLE])
    if bad:
        reference, said = parent["parentRef"], bad[0]
        where = f"Gateway '{reference['name']}'"
        return f"{where} reports {said['type']}={said['status']} ({said['reason']}): {said.get('message', '')}", False
    return "", all(type_ in current for type_ in _REQUIRED)


def pod_that_needs_room(body: Manifest, children: Mapping[ChildId, Manifest], defaults: Defaults) -> Manifest | None:
    """Return the template of the canary's pods while its rollout needs capacity; None while it does not.

    Before the canary is recorded, it is rendered from the spec.
    """
    rollout = (body.get("status") or {}).get("rollout") or {}
    phase = rollout.get("phase")
    held_for_room = phase == Phase.HELD and rollout.get("reason") == RolloutReason.NO_CAPACITY
    if not traits_of(phase).needs_capacity and not held_for_room:
        return None
    record = children.get(ChildId("ControllerRevision", rollout.get("canary", "")))
    template: Manifest | None = (record or {}).get("data", {}).get("template")
    if template is not None:
        return template
    try:
        return build_revision(ModelDeployment.parse(body), defaults).template
    except InvalidSpec:
        return None
