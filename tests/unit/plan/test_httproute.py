"""The HTTPRoute: who gets which share, who can be asked by name, and which place each revision has."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.traffic import TrafficGateway
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.objects import (
    PLACES,
    assign_places,
    backends,
    http_route,
    refuse_unroutable,
    split_seen,
    split_written,
)
from tritonfleet.plan.world import Defaults, Manifest
from tritonfleet.plan.writes import covers

OWNER = {"name": "demo", "namespace": "shop", "uid": "uid-1"}
GATEWAY = TrafficGateway.model_validate({"parentRefs": [{"name": "public", "namespace": "edge"}]})
A, B, C, D = ("aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc", "dddddddddd")


def route(split: dict[str, int], existing: Manifest | None = None) -> Manifest:
    return http_route(OWNER, GATEWAY, split, existing)


def answers(manifest: Manifest, headers: dict[str, str]) -> dict[tuple[str, int], int]:
    """Weight by Service and port, for a request with these headers: the rule that names most of them wins."""
    best: tuple[int, dict[str, Any]] | None = None
    for rule in manifest["spec"]["rules"]:
        for match in rule["matches"]:
            wanted = {header["name"]: header["value"] for header in match.get("headers", ())}
            if wanted.items() <= headers.items() and (best is None or len(wanted) > best[0]):
                best = len(wanted), rule
    assert best is not None
    return {(backend["name"], backend["port"]): backend["weight"] for backend in best[1]["backendRefs"]}


@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto"])
def test_both_protocols_are_divided_alike(content_type: str) -> None:
    found = route({A: 90, B: 10})
    assert answers(found, {}) == {(f"demo-{A}", 8000): 90, (f"demo-{B}", 8000): 10}
    assert answers(found, {"content-type": content_type}) == {(f"demo-{A}", 8001): 90, (f"demo-{B}", 8001): 10}
    assert answers(found, {"content-type": "application/json"}) == answers(found, {})


@pytest.mark.parametrize(("headers", "port"), [({}, 8000), ({"content-type": "application/grpc"}, 8001)])
def test_a_revision_without_a_share_answers_who_asks_for_it(headers: dict[str, str], port: int) -> None:
    found = route({A: 100, B: 0})
    assert answers(found, headers)[f"demo-{B}", port] == 0
    assert answers(found, headers | {"x-tritonfleet-revision": f"demo-{B}"}) == {(f"demo-{B}", port): 1}


def test_every_answer_names_the_revision_that_gave_it() -> None:
    for rule in route({A: 90, B: 10})["spec"]["rules"]:
        for backend in rule["backendRefs"]:
            (only,) = backend["filters"]
            assert only["responseHeaderModifier"]["set"] == [
                {"name": "x-tritonfleet-revision", "value": backend["name"]}
            ]


def test_gateways_and_host_names_are_those_of_the_spec() -> None:
    gateway = TrafficGateway.model_validate(
        {
            "parentRefs": [{"name": "own"}, {"name": "public", "namespace": "edge", "sectionName": "https"}],
            "hostnames": ["m.example.com", "*.models.example.com"],
        }
    )
    spec = http_route(OWNER, gateway, {A: 100})["spec"]
    assert [(each["namespace"], each["name"], each.get("sectionName")) for each in spec["parentRefs"]] == [
        ("shop", "own", None),
        ("edge", "public", "https"),
    ]
    assert spec["hostnames"] == ["m.example.com", "*.models.example.com"]
    assert route({A: 100})["spec"]["hostnames"] == []


def test_a_life_of_rollouts_moves_no_revision_that_takes_requests() -> None:
    found = route({A: 100})
    assert split_written(found) == [(A, 100)]
    found = route({A: 90, B: 10}, found)
    assert split_written(found) == [(A, 90), (B, 10)]
    found = route({B: 100, A: 0}, found)
    assert split_written(found) == [(A, 0), (B, 100)]
    found = route({B: 100}, found)
    assert split_written(found) == [(B, 0), (B, 100)], "B holds the free place, too, and gets nothing there"
    assert sum(answers(found, {}).values()) == 100
    found = route({B: 80, C: 20}, found)
    assert split_written(found) == [(C, 20), (B, 80)]


def test_a_revision_that_a_gateway_is_to_know_gets_next_to_nothing() -> None:
    shared = route({A: 75, B: 25})
    leaving = http_route(OWNER, GATEWAY, {A: 0, B: 100}, shared, opened={A})
    assert split_written(leaving) == [(A, 1), (B, 1_000_000)]
    assert split_seen(leaving) == [[(A, 1), (B, 1_000_000)]] * 2
    assert http_route(OWNER, GATEWAY, {A: 0, B: 100}, leaving, opened={A}) == leaving
    assert split_written(route({A: 0, B: 100}, leaving)) == [(A, 0), (B, 100)]


def test_who_has_a_share_or_is_not_there_needs_no_way_kept() -> None:
    shared = route({A: 75, B: 25})
    assert http_route(OWNER, GATEWAY, {A: 75, B: 25}, shared, opened={A, B, C}) == shared


SPLITS = st.dictionaries(st.sampled_from([A, B, C, D]), st.integers(0, 100), min_size=1)


@given(st.lists(SPLITS, min_size=1, max_size=8))
def test_who_stays_keeps_the_place_and_everybody_has_the_share_that_was_asked_for(splits: list[dict[str, int]]) -> None:
    before: Manifest | None = None
    for split in splits:
        after = route(split, before)
        grpc, http = split_seen(after)
        assert grpc == http == split_written(after)
        assert {revision: sum(w for r, w in http if r == revision) for revision, _ in http} == split
        assert backends(after) == {revision: ((0, place), (1, place)) for place, (revision, _) in enumerate(http)}, (
            "the last place counts"
        )
        assert len(after["spec"]["rules"]) <= 16
        assert sum(len(rule["matches"]) for rule in after["spec"]["rules"]) <= 128
        assert route(split, after) == after
        if before is not None:
            stayed = backends(before).keys() & split.keys()
            assert {each: backends(before)[each] for each in stayed} == {each: backends(after)[each] for each in stayed}
        before = after


def test_a_split_in_the_annotation_cannot_exceed_the_places_of_a_route() -> None:
    tampered = [("x", 0)] * 1000 + [(A, 100)]
    assert len(assign_places({A: 100}, tampered)) <= PLACES


@pytest.mark.parametrize("text", ["", "=,=", "nonsense", f"{A}=many", ",,,"])
def test_a_changed_annotation_is_written_again(text: str) -> None:
    spoilt = route({A: 100})
    spoilt["metadata"]["annotations"] = {"tritonfleet.dev/split": text}
    assert route({A: 100}, spoilt) == route({A: 100})
    assert not covers(route({A: 100}, spoilt), spoilt)


def changed(change: str) -> Manifest:
    found = route({A: 100})
    rules = found["spec"]["rules"]
    match change:
        case "a backend was added":
            rules[1]["backendRefs"].append({**rules[1]["backendRefs"][0], "name": "other", "port": 80})
        case "a header was added to a match":
            rules[2]["matches"][0]["headers"].append({"type": "Exact", "name": "x-user", "value": "me"})
        case "a rule was added":
            rules.append(rules[1])
        case "a host name was added":
            found["spec"]["hostnames"] = ["other.example.com"]
        case "a gateway was added":
            found["spec"]["parentRefs"].append({**found["spec"]["parentRefs"][0], "name": "other"})
        case "a weight was changed":
            rules[0]["backendRefs"][0]["weight"] = 1
    return found


@pytest.mark.parametrize(
    "change",
    [
        "a backend was added",
        "a header was added to a match",
        "a rule was added",
        "a host name was added",
        "a gateway was added",
        "a weight was changed",
    ],
)
def test_what_others_change_in_a_route_is_put_right(change: str) -> None:
    assert covers(route({A: 100}), route({A: 100}))
    assert not covers(route({A: 100}), changed(change))


def test_a_gateway_is_refused_where_the_operator_may_write_no_route() -> None:
    defaults = Defaults(triton_image="t:1", allow_unsafe_image=False, fetch_image="op:1")
    deployment = ModelDeployment.parse(
        {
            "apiVersion": "tritonfleet.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "m", "namespace": "shop", "uid": "u", "generation": 1},
            "spec": {
                "model": {"uri": "s3://models/m"},
                "traffic": {"gateway": {"parentRefs": [{"name": "public"}]}},
            },
        }
    )
    with pytest.raises(InvalidSpec, match=r"spec\.traffic\.gateway is set.*gatewayApi\.enabled=true"):
        refuse_unroutable(deployment, defaults)
