"""One look at the cluster, one plan; carried out again and again it comes to rest where the spec wants it."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tritonfleet.api import names
from tritonfleet.api.conditions import Reason
from tritonfleet.plan.world import ChildId, WriteFailure

KINDS = ["ControllerRevision", "ConfigMap", "Service", "Deployment", "Service", "PodDisruptionBudget"]
ONE_EXAMPLE_A_WORLD = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

SPECS = st.fixed_dictionaries(
    {
        "model": st.fixed_dictionaries({"uri": st.sampled_from(["s3://models/m/1", "s3://models/m/2"])}),
        "replicas": st.integers(0, 3),
        "suspend": st.booleans(),
    }
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("edit"), SPECS),
        st.tuples(st.just("ready"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.integers(0, 90)),
        st.tuples(st.just("lose"), st.integers(0, 20)),
    ),
    max_size=12,
)


def test_the_first_plan_makes_every_child_and_says_so(world: Any) -> None:
    plan = world.plan()
    assert [apply.target.kind for apply in plan.applies] == KINDS
    assert all(apply.reason == "Missing" and not apply.exists for apply in plan.applies)
    owner = names.owner_reference({"name": "m", "uid": "owner-uid"})
    assert all(apply.manifest["metadata"]["ownerReferences"] == [owner] for apply in plan.applies)


def test_a_model_deployment_goes_from_nothing_to_ready_in_two_status_writes_and_two_events(world: Any) -> None:
    world.settle()
    assert world.condition("Ready") == ("False", "Provisioning", "0/1 replicas ready")
    assert world.condition("Reconciling")[0] == "True"
    world.make_ready(world.serving())
    world.settle()
    assert world.condition("Ready") == ("True", "Ready", "1/1 replicas of revision 1 ready and serving")
    assert world.condition("Reconciling")[0] == "False"
    assert world.events == [
        "Normal Provisioning: 0/1 replicas ready",
        "Normal Ready: 1/1 replicas of revision 1 ready and serving",
    ]
    assert world.status["replicas"] == world.status["readyReplicas"] == 1
    assert world.status["url"] == "http://m.shop.svc:8000"


def test_an_update_keeps_the_old_revision_serving_until_the_new_one_is_ready(world: Any) -> None:
    world.settle()
    old = world.serving()
    world.make_ready(old)
    world.settle()
    world.edit(model={"uri": "s3://models/m/2"})
    world.settle()
    new = world.revisions()[1]
    assert world.serving() == old
    assert world.condition("Ready") == (
        "False",
        "RollingOut",
        "0/1 replicas of revision 2 ready; revision 1 is serving",
    )
    assert world.condition("Available")[0] == "True"
    world.make_ready(new)
    world.settle()
    assert (world.serving(), world.condition("Ready")[0]) == (new, "True")
    assert world.revisions() == [old, new], "clients may still hold connections to the old pods"
    world.wait(seconds=600)
    world.settle()
    assert world.revisions() == [new]
    assert ChildId("ControllerRevision", names.revision_name("m", old)) in world.children, "kept to go back to"
    assert world.status["revision"] == {
        "stable": names.revision_name("m", new),
        "target": names.revision_name("m", new),
        "previous": names.revision_name("m", old),
    }
    assert [entry["outcome"] for entry in world.status["revisions"]] == ["Serving", "Retired"]


def test_only_what_is_due_at_a_known_time_is_asked_to_be_looked_at_before_the_resync(world: Any) -> None:
    world.settle()
    world.make_ready(world.serving())
    assert world.settle()[-1].requeue_after_seconds is None
    world.edit(model={"uri": "s3://models/m/2", "backend": "onnxruntime"})
    world.settle()
    world.make_ready(world.revisions()[-1])
    linger = world.settle()[-1].requeue_after_seconds
    assert linger is not None
    world.wait(seconds=linger)
    assert world.settle()[-1].requeue_after_seconds is None


def test_going_back_to_a_revision_whose_pods_linger_is_one_flip(world: Any) -> None:
    first = dict(world.spec)
    world.settle()
    old = world.serving()
    world.make_ready(old)
    world.edit(model={"uri": "s3://models/m/2"})
    world.settle()
    world.make_ready(world.revisions()[1])
    world.settle()
    world.edit(**first)
    assert [apply.target for apply in world.plan().applies] == [ChildId("Service", "m")]
    world.settle()
    assert (world.serving(), world.condition("Ready")) == (
        old,
        ("True", "Ready", "1/1 replicas of revision 1 ready and serving"),
    )


def test_a_half_finished_revision_is_dropped_for_a_newer_one(world: Any) -> None:
    world.settle()
    world.make_ready(world.serving())
    world.edit(model={"uri": "s3://models/m/2"})
    world.settle()
    half = world.revisions()[1]
    world.edit(model={"uri": "s3://models/m/3"})
    world.settle()
    assert half not in world.revisions()
    assert [entry["outcome"] for entry in world.status["revisions"]] == ["Provisioning", "Superseded", "Serving"]


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": 3},
        {"traffic": {"service": {"annotations": {"a": "b"}}}},
        {"rollout": {"progressDeadline": "20m"}},
        {"suspend": True},
    ],
)
def test_what_pods_are_not_made_of_starts_no_revision(world: Any, change: dict[str, Any]) -> None:
    world.settle()
    before = world.revisions()
    world.edit(**change)
    world.settle()
    assert world.revisions() == before


def test_a_newer_operator_with_other_defaults_changes_nothing_that_runs(world: Any) -> None:
    world.settle()
    world.with_defaults(triton_image="nvcr.io/nvidia/tritonserver:27.01-py3", fetch_image="operator:2")
    assert world.plan().applies == ()


def test_suspending_leaves_no_pod_and_says_so(world: Any) -> None:
    world.settle()
    world.make_ready(world.serving())
    world.edit(suspend=True)
    world.settle()
    deployment = world.children[ChildId("Deployment", names.revision_name("m", world.serving()))]
    assert deployment["spec"]["replicas"] == 0
    world.make_ready(world.serving())
    world.settle()
    assert world.condition("Ready") == ("False", "Suspended", "no pods run: suspended")
    assert (world.condition("Reconciling")[0], world.condition("Stalled")[0]) == ("False", "False")


def test_a_spec_that_triton_would_refuse_leaves_the_old_revision_serving(world: Any) -> None:
    world.settle()
    old = world.serving()
    world.make_ready(old)
    world.edit(modelConfig={"max_batch_size": 4, "dynamic_batching": {"preferred_batch_size": [8]}})
    world.settle()
    assert (world.serving(), world.revisions()) == (old, [old])
    assert world.condition("ConfigValid")[:2] == ("False", "ConfigInvalid")
    assert (world.condition("Stalled")[0], world.condition("Available")[0]) == ("True", "True")
    del world.children[ChildId("Service", "m")]
    world.settle()
    assert world.serving() == old, "what serves is healed all the same"


def test_an_object_that_cannot_be_read_is_stalled_and_nothing_else_is_touched(world: Any) -> None:
    world.settle()
    world.edit(replicas="many")
    plan = world.plan()
    assert (plan.applies, plan.deletes) == ((), ())
    world.carry_out(plan)
    assert world.condition("Stalled")[:2] == ("True", "ConfigInvalid")
    assert "replicas" in world.condition("ConfigValid")[2]


def test_a_refused_write_is_what_the_status_says(world: Any) -> None:
    world.failure = WriteFailure(
        ChildId("Deployment", "m-1"), Reason.WRITE_REFUSED, "Deployment 'm-1' was refused: quota"
    )
    world.carry_out(world.plan())
    assert world.condition("Ready") == ("False", "WriteRefused", "Deployment 'm-1' was refused: quota")
    assert world.condition("Stalled")[0] == "True"


def test_the_object_of_another_owner_is_never_written(world: Any) -> None:
    world.settle()
    service = world.children[ChildId("Service", "m")]
    service["metadata"]["ownerReferences"] = [{"kind": "Shop", "name": "s", "uid": "x", "controller": True}]
    service["spec"]["selector"] = {"theirs": "1"}
    plan = world.plan()
    assert (plan.applies, plan.deletes) == ((), ())
    world.carry_out(plan)
    assert world.condition("Stalled")[:2] == ("True", "NameConflict")
    assert "belongs to Shop 's'" in world.condition("Ready")[2]


def test_objects_of_a_deleted_namesake_are_waited_for(world: Any) -> None:
    world.settle()
    service = world.children[ChildId("Service", "m")]
    service["metadata"]["ownerReferences"] = [names.owner_reference({"name": "m", "uid": "before"})]
    plan = world.plan()
    assert (plan.applies, plan.deletes) == ((), ())
    world.carry_out(plan)
    assert (world.condition("Ready")[1], world.condition("Stalled")[0]) == ("PredecessorRemains", "False")


def test_an_edited_config_map_is_replaced_because_it_cannot_be_changed(world: Any) -> None:
    world.settle()
    target = ChildId("ConfigMap", names.revision_name("m", world.serving()))
    world.children[target]["data"] = {"tritonfleet.pbtxt": "name: 'evil'"}
    plan = world.plan()
    assert [delete.target for delete in plan.deletes] == [target]
    world.settle()
    assert "evil" not in json.dumps(world.children[target])


def test_a_record_of_a_newer_operator_stops_the_spec_but_not_what_serves(world: Any) -> None:
    world.settle()
    old = world.serving()
    world.make_ready(old)
    world.settle()
    world.children[ChildId("ControllerRevision", names.revision_name("m", old))]["data"]["format"] = 99
    assert (world.plan().applies, world.plan().deletes) == ((), ())
    world.settle()
    assert "upgrade the operator" in world.condition("ConfigValid")[2]
    world.edit(model={"uri": "s3://models/m/2"})
    world.settle()
    assert (world.serving(), world.condition("Available")[0]) == (old, "True")


def test_an_image_with_a_known_problem_causes_a_warning(world: Any) -> None:
    world.edit(server={"image": {"tag": "25.10-py3"}, "allowUnsafeImage": True})
    world.settle()
    assert world.condition("ConfigValid")[0] == "True"
    assert "CVE-2026-24207 (fixed in 26.03)" in world.condition("ConfigValid")[2]
    assert "use 26.11 or later" in world.condition("ConfigValid")[2]


def test_old_records_beyond_the_limit_go(world: Any) -> None:
    world.edit(rollout={"revisionHistoryLimit": 1})
    for version in range(1, 5):
        world.edit(model={"uri": f"s3://models/m/{version}"})
        world.settle()
        world.make_ready(world.revisions()[-1])
        world.settle()
        world.wait(seconds=600)
        world.settle()
    records = [child["revision"] for target, child in world.children.items() if target.kind == "ControllerRevision"]
    assert sorted(records) == [3, 4]


@pytest.mark.parametrize("index", range(len(KINDS)))
def test_any_deleted_child_is_back_in_one_pass(world: Any, index: int) -> None:
    world.settle()
    world.make_ready(world.serving())
    world.settle()
    target = sorted(world.children)[index]
    lost = world.children.pop(target)
    plan = world.plan()
    assert [apply.target for apply in plan.applies] == [target]
    world.settle()
    assert world.children[target].get("spec") == lost.get("spec")


@given(SPECS)
@ONE_EXAMPLE_A_WORLD
def test_the_same_world_gives_the_same_plan_to_the_byte(new_world: Callable[..., Any], spec: dict[str, Any]) -> None:
    one, other = new_world(spec=spec), new_world(spec=json.loads(json.dumps(spec, sort_keys=True)))
    assert repr(one.plan()) == repr(other.plan())


@given(STEPS)
@ONE_EXAMPLE_A_WORLD
def test_in_any_history_plans_settle_and_no_ready_pod_is_given_up(
    new_world: Callable[..., Any], steps: list[tuple[str, Any]]
) -> None:
    world = new_world()
    world.settle()
    for action, value in steps:
        _act(world, action, value)
        before = _ready_behind_the_front(world)
        world.settle()
        after = _ready_behind_the_front(world)
        wanted = 0 if world.spec.get("suspend") else world.spec.get("replicas", 1)
        assert before == 0 or after > 0 or wanted == 0
        conditions = {one["type"]: one for one in world.status["conditions"]}
        assert all(one["reason"] and one["message"] for one in conditions.values())
        assert not (conditions["Reconciling"]["status"] == conditions["Stalled"]["status"] == "True")


@given(STEPS, st.integers(0, 12))
@ONE_EXAMPLE_A_WORLD
def test_a_crash_after_any_write_ends_in_the_same_state(
    new_world: Callable[..., Any], steps: list[tuple[str, Any]], writes: int
) -> None:
    steady = new_world()
    steady.settle()
    for action, value in steps:
        _act(steady, action, value)
        crashed = copy.deepcopy(steady)
        crashed.carry_out(crashed.plan(), writes=writes)
        crashed.settle()
        steady.settle()
        assert _settled(crashed) == _settled(steady)


def _settled(world: Any) -> dict[ChildId, Any]:
    """Return what is asked for once the Deployment controller has counted again and nothing lingers any more."""
    rested = copy.deepcopy(world)
    for _ in range(3):
        for revision in rested.revisions():
            status = rested.children[ChildId("Deployment", names.revision_name("m", revision))].get("status", {})
            rested.make_ready(revision, status.get("readyReplicas", 0))
        rested.wait(seconds=600)
        rested.settle()
    return _intent(rested)


def _act(world: Any, action: str, value: Any) -> None:
    if action == "edit":
        world.edit(**value)
    elif action == "ready":
        for revision in world.revisions():
            wanted = world.children[ChildId("Deployment", names.revision_name("m", revision))]["spec"]["replicas"]
            world.make_ready(revision, min(value, wanted))
    elif action == "wait":
        world.wait(seconds=value)
    elif world.children:
        del world.children[sorted(world.children)[value % len(world.children)]]


def _ready_behind_the_front(world: Any) -> int:
    front = world.children.get(ChildId("Service", "m"))
    if front is None:
        return 0
    name = names.revision_name("m", front["spec"]["selector"][names.REVISION_LABEL])
    deployment = world.children.get(ChildId("Deployment", name), {})
    return int(deployment.get("status", {}).get("readyReplicas", 0))


def _intent(world: Any) -> dict[ChildId, Any]:
    return {target: child.get("spec", child.get("data")) for target, child in world.children.items()}


@pytest.mark.parametrize(
    ("message", "digest"),
    [('{"digest": "sha256:abc"}', "sha256:abc"), ("not json", None), ("[]", None), ('{"digest": 7}', None)],
)
def test_the_digest_that_the_fetch_step_reports_is_kept_after_its_pod_is_gone(
    world: Any, message: str, digest: str | None
) -> None:
    world.settle()
    ended = {"name": "fetch", "state": {"terminated": {"exitCode": 0, "message": message}}}
    labels = names.revision_labels("m", world.serving())
    world.pods = [
        {"metadata": {"labels": labels}, "spec": {"containers": []}, "status": {"initContainerStatuses": [ended]}}
    ]
    world.settle()
    world.pods = []
    world.settle()
    assert world.status["revisions"][0].get("modelDigest") == digest
