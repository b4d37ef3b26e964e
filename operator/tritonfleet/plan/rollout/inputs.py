"""What a rollout is decided from, apart from its own state: the observed pods, the traffic split, and requests.

The planner gathers one `RolloutInputs` per pass. `observed_split()` reads from the HTTPRoute, or from the selector of
the front Service, which share the canary gets and whether that is in force. `pod_that_needs_room()` tells
`runtime/controller.py` for which pods free GPUs are to be counted.
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
    """What is asked; as an annotation it is `tritonfleet.dev/VERB`. In the order of precedence at one moment."""

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
    """Hash or number of the revision meant; for RETRY a word."""
    step: int | None = None
    """For APPROVE: which step, from 1."""
    by: str = ""
    """Who says to have asked; anybody who may write the object may claim to be anybody."""
    at: str = ""
    """When, RFC 3339 in UTC; tells one request from the same one later."""
    problem: str = ""
    """Why it cannot be read: such a request is only to be refused, in these words. Then `revision` is meaningless."""

    @property
    def id(self) -> str:
        """Return what tells it from others, as `status.rollout.consumed` keeps it; at most 128 characters."""
        step = f":{self.step}" if self.step is not None else ""
        return f"{self.verb}={self.revision}{step}{'@' + self.at if self.at else ''}"


@dataclass(frozen=True, slots=True)
class ObservedSplit:
    """The traffic as it is seen to be divided."""

    weight: int | None
    """Percent that the canary gets; None when it cannot be told."""
    settled: bool
    """Whether what was asked for last is in force: accepted, references resolved, generation seen."""
    problem: str = ""
    """What the gateway says against it; empty if nothing."""
    foreign: bool = False
    """Whether somebody else has changed it."""


@dataclass(frozen=True, slots=True)
class RolloutInputs:
    """What is observed of one ModelDeployment in one pass."""

    target: str
    """The revision that the spec asks for, `rollback.toRevision` applied; empty while it cannot be rendered."""
    replicas: int
    """Pods that the spec or the autoscaler wants for all traffic now."""
    policy: Rollout
    revisions: Mapping[str, RevisionPods] = field(default_factory=dict)
    """By revision hash."""
    by_gateway: bool = False
    """Whether an HTTPRoute splits the traffic; else the Service does, by the ratio of pods."""
    split: ObservedSplit = ObservedSplit(None, settled=True)
    headroom: GpuPool | None = None
    """Free GPUs on the nodes that the canary's pods may run on; None if it needs none or nobody counted."""
    gpus_per_pod: int = 0
    evidence: Evidence | None = None
    requests: tuple[Request, ...] = ()
    """All that the object holds, answered ones included, in the order in which they are carried out."""
    slo: Slo | None = None
    suspended: bool = False
    older: bool = False
    """Whether `target` comes from `spec.rollback.toRevision`."""


_REQUIRED: Final = ("Accepted", "ResolvedRefs")
"""Conditions that a gateway must report as true, for the generation that was written, before a weight counts."""
_TROUBLE: Final = "PartiallyInvalid"


def observed_split(observed: Observed, state: State, *, by_gateway: bool) -> ObservedSplit:
    """Return how the traffic is divided now, and whether that is what the state asks for."""
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
    """Tell from the selector: it leads to one revision, or to the pods of all."""
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
    """Yield, for each parent, what speaks against the route as it is now, and whether the gateway has taken it."""
    for reference, own in statuses_by_parent(route):
        if not own:
            gateway = f"Gateway '{reference['name']}' in namespace '{reference['namespace']}'"
            yield (
                f"no gateway has taken the HTTPRoute: is spec.traffic.gateway.parentRefs right? It names {gateway}",
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
        return f"{where} says {said['type']} is {said['status']} ({said['reason']}): {said.get('message', '')}", False
    return "", all(type_ in current for type_ in _REQUIRED)


def pod_that_needs_room(body: Manifest, children: Mapping[ChildId, Manifest], defaults: Defaults) -> Manifest | None:
    """Return the template of the canary's pods while its rollout looks for room; None while it does not.

    Before the canary is recorded it is what the spec renders to.
    """
    rollout = (body.get("status") or {}).get("rollout") or {}
    phase = rollout.get("phase")
    held_for_room = phase == Phase.HELD and rollout.get("reason") == RolloutReason.NO_CAPACITY
    if not traits_of(phase).looks_for_room and not held_for_room:
        return None
    record = children.get(ChildId("ControllerRevision", rollout.get("canary", "")))
    template: Manifest | None = (record or {}).get("data", {}).get("template")
    if template is not None:
        return template
    try:
        return build_revision(ModelDeployment.parse(body), defaults).template
    except InvalidSpec:
        return None
