"""Which revisions exist, their numbers and which one serves is read off the objects, not off the status."""

from datetime import UTC, datetime
from typing import Any

from tritonfleet.api import names
from tritonfleet.plan.revisions import known_revisions, next_number, retired_at, serving_hash
from tritonfleet.plan.world import ChildId, Defaults, Observed

DEFAULTS = Defaults(triton_image="t", allow_unsafe_image=False, fetch_image="f")


def deployment(revision: str, *, ready: int = 0, number: str = "7") -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "metadata": {
            "name": f"m-{revision}",
            "labels": names.revision_labels("m", revision),
            "annotations": {names.REVISION_NUMBER_ANNOTATION: number},
        },
        "status": {"readyReplicas": ready, "updatedReplicas": ready, "replicas": ready},
    }


def record(revision: str, number: int) -> dict[str, Any]:
    return {
        "kind": "ControllerRevision",
        "metadata": {"name": f"m-{revision}", "labels": names.revision_labels("m", revision)},
        "revision": number,
    }


def front(revision: str) -> dict[str, Any]:
    return {
        "kind": "Service",
        "metadata": {"name": "m", "labels": names.owner_labels("m")},
        "spec": {"selector": names.serving_selector("m", revision)},
    }


def observed(*children: dict[str, Any], status: dict[str, Any] | None = None) -> Observed:
    return Observed(
        body={"metadata": {"name": "m"}, "status": status or {}},
        children={ChildId(child["kind"], child["metadata"]["name"]): child for child in children},
        pods=(),
        defaults=DEFAULTS,
    )


def test_a_revision_is_known_by_its_record_or_its_deployment() -> None:
    known = known_revisions(observed(record("a", 1), deployment("b"), front("b")))
    assert {revision: one.number for revision, one in known.items()} == {"a": 1, "b": 7}


def test_a_garbled_number_counts_as_missing() -> None:
    known = known_revisions(observed(deployment("b", number="many")))
    assert known["b"].number == 0
    assert next_number(known, "b") == 1


def test_a_new_revision_is_numbered_after_the_highest_and_an_old_one_keeps_its_number() -> None:
    known = known_revisions(observed(record("a", 3), record("b", 9)))
    assert next_number(known, "new") == 10
    assert next_number(known, "a") == 3
    assert next_number({}, "first") == 1


def test_the_front_service_overrides_the_status_on_which_revision_serves() -> None:
    world = observed(
        deployment("a", ready=1), deployment("b", ready=1), front("a"), status={"revision": {"stable": "m-b"}}
    )
    assert serving_hash(world, known_revisions(world)) == "a"


def test_without_a_front_service_the_newest_ready_revision_takes_its_place() -> None:
    world = observed(
        deployment("a", ready=1, number="1"), deployment("b", ready=1, number="2"), deployment("c", number="3")
    )
    assert serving_hash(world, known_revisions(world)) == "b"


def test_a_front_service_that_points_nowhere_is_not_believed() -> None:
    world = observed(deployment("a", ready=1), front("gone"))
    assert serving_hash(world, known_revisions(world)) == "a"
    assert serving_hash(observed(front("gone")), {}) is None


def test_the_status_remembers_when_a_revision_stopped_serving() -> None:
    status = {"revisions": [{"name": "m-a", "retiredAt": "2026-01-01T00:00:00Z"}, {"name": "m-b"}]}
    assert retired_at({"status": status}) == {"m-a": datetime(2026, 1, 1, tzinfo=UTC)}
