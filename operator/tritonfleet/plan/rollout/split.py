"""What the HTTPRoute or the front Service is seen to do with the traffic."""

from collections.abc import Iterator
from typing import Final

from tritonfleet.api import names
from tritonfleet.api.resources import HTTP_ROUTE
from tritonfleet.plan.objects import SPLIT_RULES, split_seen, split_written
from tritonfleet.plan.rollout.facts import Split
from tritonfleet.plan.rollout.state import State
from tritonfleet.plan.world import ChildId, Manifest, Observed

_REQUIRED: Final = ("Accepted", "ResolvedRefs")
"""Conditions that a gateway must report as true, for the generation that was written, before a weight counts."""
_TROUBLE: Final = "PartiallyInvalid"


def split_of(observed: Observed, state: State, *, by_gateway: bool) -> Split:
    """Return how the traffic is divided now, and whether that is what `state.weight` asks for."""
    name = observed.body["metadata"]["name"]
    if by_gateway:
        route = observed.children.get(ChildId(HTTP_ROUTE.kind, name))
        return _by_route(route, state) if route is not None else Split(None, settled=False)
    service = observed.children.get(ChildId("Service", name))
    return _by_service(name, service["spec"].get("selector") or {}, state) if service else Split(None, settled=False)


def _by_service(name: str, selector: dict[str, str], state: State) -> Split:
    """Tell from the selector: it leads to one revision, or to the pods of all."""
    if selector == {names.OWNER_LABEL: name}:
        shared = 0 < state.weight < 100
        return Split(state.weight if shared else state.applied_weight, settled=shared)
    by_revision = {state.previous: None, state.canary: 100, state.stable: 0}
    revision = selector.get(names.REVISION_LABEL, "")
    if revision not in by_revision or selector != names.serving_selector(name, revision):
        return Split(None, settled=False, foreign=True)
    weight = by_revision[revision]
    return Split(weight, settled=weight == state.weight)


def _by_route(route: Manifest, state: State) -> Split:
    rules = split_seen(route)
    written = split_written(route)
    weights = {_percent(rule, state.canary) for rule in rules}
    weight = weights.pop() if len(weights) == 1 else None
    foreign = rules != [written] * len(SPLIT_RULES)
    reports = list(_reports(route))
    problem = next((text for text, _ in reports if text), "")
    taken = all(taken for _, taken in reports)
    opened = not state.is_opening or any(revision == state.canary and share for revision, share in written)
    settled = weight == state.routed_weight and opened and not foreign and not problem and taken
    return Split(weight, settled=settled, problem=problem, foreign=foreign)


def _percent(rule: list[tuple[str, int]], canary: str) -> int | None:
    total = sum(weight for _, weight in rule)
    return round(100 * sum(weight for revision, weight in rule if revision == canary) / total) if total else None


def _reports(route: Manifest) -> Iterator[tuple[str, bool]]:
    """Yield, for each parent, what speaks against the route as it is now, and whether the gateway has taken it."""
    parents = (route.get("status") or {}).get("parents") or []
    for reference in route["spec"]["parentRefs"]:
        own = [each for each in parents if _identity(each["parentRef"], route) == _identity(reference, route)]
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


def _identity(reference: Manifest, route: Manifest) -> tuple[str, str, str | None]:
    return reference.get("namespace") or route["metadata"]["namespace"], reference["name"], reference.get("sectionName")
