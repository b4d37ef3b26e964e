"""What the route or the Service is seen to do: who gets how much, and whether the gateway has taken it."""

import copy
from typing import Any

import pytest

from tritonfleet.api import names
from tritonfleet.api.traffic import TrafficGateway
from tritonfleet.plan.objects import front_service, http_route
from tritonfleet.plan.rollout import Attempt, State
from tritonfleet.plan.rollout.inputs import ObservedSplit, observed_split
from tritonfleet.plan.world import ChildId, Defaults, Manifest, Observed

OWNER = {"name": "demo", "namespace": "shop", "uid": "uid-1"}
A, B, C = ("aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc")
TWO = TrafficGateway.model_validate({"parentRefs": [{"name": "own"}, {"name": "public", "namespace": "edge"}]})
ONE = TrafficGateway.model_validate({"parentRefs": [{"name": "own"}]})


def observed(child: Manifest | None) -> Observed:
    children = {} if child is None else {ChildId(child["kind"], "demo"): child}
    defaults = Defaults(triton_image="t:1", allow_unsafe_image=False, fetch_image="op:1")
    return Observed({"metadata": {"name": "demo", "namespace": "shop"}}, children, (), defaults)


def condition(type_: str = "Accepted", status: str = "True", **more: Any) -> Manifest:
    return {"type": type_, "status": status, "observedGeneration": 7, "reason": type_, "message": "", **more}


def report(reference: Manifest, *conditions: Manifest) -> Manifest:
    own = conditions or (condition(), condition("ResolvedRefs"))
    return {"parentRef": reference, "controllerName": "example.com/gateway", "conditions": list(own)}


def route(
    split: dict[str, int], gateway: TrafficGateway = ONE, reports: list[Manifest] | None = None, *, opened: str = ""
) -> Manifest:
    found = copy.deepcopy(http_route(OWNER, gateway, split, opened={opened}))
    found["metadata"]["generation"] = 7
    references = found["spec"]["parentRefs"]
    found["status"] = {"parents": [report(each) for each in references] if reports is None else reports}
    return found


def by_route(child: Manifest | None, weight: int = 20, **changes: Any) -> ObservedSplit:
    state = State(stable=A, attempt=Attempt(**{"canary": B, "weight": weight, "applied_weight": 10, **changes}))
    return observed_split(observed(child), state, by_gateway=True)


def test_a_weight_counts_once_every_gateway_has_taken_the_route_as_it_is() -> None:
    assert by_route(route({A: 80, B: 20}, TWO)) == ObservedSplit(20, settled=True)


def test_a_weight_that_was_not_written_yet_does_not_count() -> None:
    assert by_route(route({A: 90, B: 10})) == ObservedSplit(10, settled=False)


def test_a_way_to_the_canary_counts_once_it_is_there_and_not_before() -> None:
    opening = {"applied_weight": 0, "opening": True}
    assert by_route(route({A: 100, B: 0}, opened=B), **opening) == ObservedSplit(0, settled=True)
    assert by_route(route({A: 100, B: 0}), **opening) == ObservedSplit(0, settled=False)
    assert by_route(route({A: 80, B: 20}), **opening) == ObservedSplit(20, settled=False)


def test_without_a_route_there_is_no_split() -> None:
    assert by_route(None) == ObservedSplit(None, settled=False)


def test_a_report_of_an_older_route_does_not_count() -> None:
    late = [
        report(ref, condition(observedGeneration=6), condition("ResolvedRefs", observedGeneration=6)) for ref in REF
    ]
    assert by_route(route({A: 80, B: 20}, reports=late)) == ObservedSplit(20, settled=False)


REF = [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "own", "namespace": "shop"}]


def test_a_report_without_one_of_the_conditions_does_not_count() -> None:
    for only in (condition(), condition("ResolvedRefs")):
        assert by_route(route({A: 80, B: 20}, reports=[report(REF[0], only)])) == ObservedSplit(20, settled=False)


def test_one_gateway_of_two_is_not_enough() -> None:
    found = by_route(route({A: 80, B: 20}, TWO, [report(REF[0])]))
    assert not found.settled
    assert found.problem == (
        "no gateway has accepted the HTTPRoute: check spec.traffic.gateway.parentRefs, "
        "which has Gateway 'public' in namespace 'edge'"
    )


def test_a_slow_gateway_is_distinguished_from_a_missing_one() -> None:
    assert "check spec.traffic.gateway.parentRefs" in by_route(route({A: 80, B: 20}, reports=[])).problem
    assert by_route(route({A: 80, B: 20}, reports=[report(REF[0], condition(observedGeneration=6))])).problem == ""


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (
            condition(status="False", reason="NotAllowedByListeners", message="no listener admits namespace shop"),
            "Gateway 'own' reports Accepted=False (NotAllowedByListeners): no listener admits namespace shop",
        ),
        (
            condition("ResolvedRefs", "False", reason="BackendNotFound", message="Service shop/x not found"),
            "Gateway 'own' reports ResolvedRefs=False (BackendNotFound): Service shop/x not found",
        ),
        (
            condition("PartiallyInvalid", reason="UnsupportedValue", message="Dropped Rule(s) 0"),
            "Gateway 'own' reports PartiallyInvalid=True (UnsupportedValue): Dropped Rule(s) 0",
        ),
    ],
)
def test_what_a_gateway_says_against_the_route_is_passed_on_in_its_own_words(said: Manifest, problem: str) -> None:
    rest = [each for each in (condition(), condition("ResolvedRefs")) if each["type"] != said["type"]]
    found = by_route(route({A: 80, B: 20}, reports=[report(REF[0], said, *rest)]))
    assert found == ObservedSplit(20, settled=False, problem=problem)


def test_a_gateways_message_about_an_older_route_is_ignored() -> None:
    old = condition(status="False", observedGeneration=6)
    assert by_route(route({A: 80, B: 20}, reports=[report(REF[0], old)])).problem == ""


def test_weights_written_by_others_are_detected_as_foreign() -> None:
    theirs = route({A: 80, B: 20})
    for rule in theirs["spec"]["rules"][:2]:
        rule["backendRefs"][0]["weight"], rule["backendRefs"][1]["weight"] = 3, 1
    assert by_route(theirs) == ObservedSplit(25, settled=False, foreign=True)
    assert by_route(theirs, weight=25) == ObservedSplit(25, settled=False, foreign=True)


def test_different_weights_of_the_protocols_are_no_weight() -> None:
    theirs = route({A: 80, B: 20})
    theirs["spec"]["rules"][0]["backendRefs"][1]["weight"] = 0
    assert by_route(theirs) == ObservedSplit(None, settled=False, foreign=True)


def test_a_backend_added_by_someone_else_is_detected_as_foreign() -> None:
    theirs = route({A: 80, B: 20})
    for rule in theirs["spec"]["rules"][:2]:
        rule["backendRefs"].append({"name": "other", "port": 80})
    assert by_route(theirs).foreign


def test_a_route_without_its_rules_is_detected_as_foreign() -> None:
    theirs = route({A: 80, B: 20})
    del theirs["spec"]["rules"]
    assert by_route(theirs) == ObservedSplit(None, settled=False, foreign=True)


def by_service(child: Manifest | None, **attempt: Any) -> ObservedSplit:
    return observed_split(
        observed(child), State(stable=A, attempt=Attempt(**{"canary": B, **attempt})), by_gateway=False
    )


def service(split: dict[str, int]) -> Manifest:
    return front_service(OWNER, split, service_type="ClusterIP", annotations={})


def test_a_service_that_leads_to_one_revision_gives_it_everything() -> None:
    assert by_service(service({A: 100, B: 0}), weight=0) == ObservedSplit(0, settled=True)
    assert by_service(service({B: 100, A: 0}), weight=100) == ObservedSplit(100, settled=True)
    assert by_service(service({A: 100, B: 0}), weight=10) == ObservedSplit(0, settled=False)


def test_a_service_that_leads_to_all_pods_gives_the_share_that_their_numbers_were_chosen_for() -> None:
    assert by_service(service({A: 90, B: 10}), weight=10) == ObservedSplit(10, settled=True)
    assert by_service(service({A: 90, B: 10}), weight=100, applied_weight=10) == ObservedSplit(10, settled=False)


def test_a_service_with_another_selector_is_detected_as_foreign() -> None:
    elsewhere = service({A: 100})
    elsewhere["spec"]["selector"] = {"app": "mine"}
    assert by_service(elsewhere) == ObservedSplit(None, settled=False, foreign=True)
    assert by_service(service({C: 100})) == ObservedSplit(None, settled=False, foreign=True)
    more = service({A: 100})
    more["spec"]["selector"] |= {names.MANAGED_BY_LABEL: names.MANAGED_BY}
    assert by_service(more) == ObservedSplit(None, settled=False, foreign=True)


def test_without_a_service_there_is_no_split() -> None:
    assert by_service(None) == ObservedSplit(None, settled=False)
