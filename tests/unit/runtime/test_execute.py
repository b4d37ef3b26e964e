"""What is written, in which order, and what an answer of the API server comes to."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from tritonfleet.adapters.store import Key, Store
from tritonfleet.api import names
from tritonfleet.errors import Conflict, Refused, Transient
from tritonfleet.plan.world import Apply, ChildId, Delete, Event
from tritonfleet.runtime import Telemetry
from tritonfleet.runtime.executor import Executor, WriteRefused

KEY = Key("shop", "demo")
BODY: dict[str, Any] = {
    "kind": names.KIND,
    "metadata": {"namespace": "shop", "name": "demo", "uid": "owner", "generation": 3, "resourceVersion": "7"},
    "status": {"replicas": 1},
}


def manifest(kind, name="demo", owner="owner", **metadata):
    reference = names.owner_reference({"name": "demo", "uid": owner})
    base = {"namespace": "shop", "name": name, "labels": names.owner_labels("demo"), "ownerReferences": [reference]}
    return {"kind": kind, "metadata": base | metadata}


class Recorder:
    """An API server of a few objects that remembers what it was asked, and answers as the real one does."""

    def __init__(self, *bodies):
        self.objects = {(body["kind"], body["metadata"]["name"]): body for body in bodies}
        self.calls = []
        self.posted = []
        self.refuse = {}
        self._version = 100

    def _record(self, verb, kind, name):
        self.calls.append((verb, kind, name))
        if (verb, kind) in self.refuse:
            raise self.refuse[verb, kind]

    def _keep(self, body):
        self._version += 1
        metadata = {"uid": f"uid-{self._version}"} | body["metadata"] | {"resourceVersion": str(self._version)}
        self.objects[body["kind"], metadata["name"]] = stored = {**body, "metadata": metadata}
        return stored

    async def get(self, kind, _namespace, name):
        self._record("get", kind, name)
        return self.objects.get((kind, name))

    async def apply_new(self, body):
        await asyncio.sleep(0)
        self._record("create", body["kind"], body["metadata"]["name"])
        if (body["kind"], body["metadata"]["name"]) in self.objects:
            raise Conflict("the object has been modified")
        return self._keep(body)

    async def apply(self, body):
        self._record("apply", body["kind"], body["metadata"]["name"])
        live = self.objects.get((body["kind"], body["metadata"]["name"]))
        if live is None or live["metadata"]["uid"] != body["metadata"]["uid"]:
            raise Conflict("uid mismatch")
        return self._keep(body)

    async def apply_status(self, body):
        self._record("status", body["kind"], body["metadata"]["name"])
        if body["metadata"].get("resourceVersion", "7") != "7":
            raise Conflict("the object has been modified")
        return self._keep(BODY | {"status": body["status"]})

    async def delete(self, kind, _namespace, name, *, uid):
        self._record("delete", kind, name)
        live = self.objects.get((kind, name))
        if live is not None and live["metadata"]["uid"] != uid:
            raise Conflict("uid mismatch")
        self.objects.pop((kind, name), None)

    async def create(self, body):
        self.posted.append(body)
        return body


def executor(cluster, *known):
    store = Store()
    for body in known:
        store.put(body)
    return Executor(cluster, store, Telemetry()), store


def missing(kind, name="demo"):
    return Apply(manifest(kind, name), "Missing", "it does not exist", exists=False)


async def test_what_pods_need_is_there_before_the_deployment():
    cluster = Recorder()
    kinds = ["PodDisruptionBudget", "Deployment", "Service", "ConfigMap", "ControllerRevision", "NetworkPolicy"]
    await executor(cluster)[0].apply(KEY, [missing(kind) for kind in kinds])
    order = [kind for _, kind, _ in cluster.calls]
    assert set(order[:3]) == {"ControllerRevision", "ConfigMap", "NetworkPolicy"}
    assert set(order[3:]) == {"Deployment", "PodDisruptionBudget", "Service"}


async def test_without_what_pods_need_there_is_no_deployment_but_everything_beside_it_was_tried():
    cluster = Recorder()
    cluster.refuse["create", "ConfigMap"] = Transient("HTTP 500")
    with pytest.raises(Transient):
        await executor(cluster)[0].apply(
            KEY, [missing("Deployment"), missing("ConfigMap"), missing("ControllerRevision")]
        )
    assert {kind for _, kind, _ in cluster.calls} == {"ConfigMap", "ControllerRevision"}


async def test_an_answer_is_in_the_store_before_any_watch_tells_of_it():
    cluster = Recorder()
    execute, store = executor(cluster)
    await execute.apply(KEY, [missing("ConfigMap")])
    assert ChildId("ConfigMap", "demo") in store.children(KEY)


async def test_a_foreign_object_is_reported_and_not_touched():
    foreign = {"kind": "Service", "metadata": {"namespace": "shop", "name": "demo", "uid": "x", "resourceVersion": "1"}}
    cluster = Recorder(foreign)
    with pytest.raises(WriteRefused) as refused:
        await executor(cluster)[0].apply(KEY, [missing("Service")])
    assert refused.value.failure.reason == "NameConflict"
    assert cluster.calls == [("create", "Service", "demo"), ("get", "Service", "demo")]
    assert cluster.objects["Service", "demo"] == foreign


async def test_our_own_object_without_its_labels_is_corrected():
    stripped = manifest("Service", uid="x", resourceVersion="1", labels={})
    cluster = Recorder(stripped)
    await executor(cluster)[0].apply(KEY, [missing("Service")])
    assert [verb for verb, _, _ in cluster.calls] == ["create", "get", "apply"]


async def test_an_object_of_ours_not_seen_before_is_looked_at_again_before_it_is_written():
    left = manifest("Service", owner="predecessor", uid="x", resourceVersion="1")
    cluster = Recorder(left)
    execute, store = executor(cluster)
    with pytest.raises(Conflict):
        await execute.apply(KEY, [missing("Service")])
    assert ChildId("Service", "demo") in store.children(KEY)
    assert [verb for verb, _, _ in cluster.calls] == ["create", "get"]


async def test_a_correction_never_reaches_another_object_of_the_same_name():
    cluster = Recorder(manifest("Service", uid="somebody-elses", resourceVersion="50"))
    execute, _ = executor(cluster, manifest("Service", uid="ours", resourceVersion="1"))
    with pytest.raises(Conflict):
        await execute.apply(KEY, [Apply(manifest("Service"), "Drifted", "it differs", exists=True)])


@pytest.mark.parametrize(
    ("message", "reason"),
    [("exceeded quota: compute", "QuotaExceeded"), ("spec.ports: Invalid value", "WriteRefused")],
)
async def test_a_rejected_write_names_the_object_and_the_api_servers_message(message, reason):
    cluster = Recorder()
    cluster.refuse["create", "Deployment"] = Refused(403, message)
    with pytest.raises(WriteRefused) as refused:
        await executor(cluster)[0].apply(KEY, [missing("Deployment")])
    assert refused.value.failure.reason == reason
    assert "Deployment 'demo'" in refused.value.failure.message
    assert message in refused.value.failure.message


def deletion(uid="u"):
    return Delete(ChildId("ConfigMap", "demo"), uid, "Expired", "it no longer serves")


async def test_deletes_look_at_the_model_deployment_once_and_leave_the_store_without_the_object():
    doomed = manifest("ConfigMap", uid="u", resourceVersion="1")
    cluster = Recorder(BODY, doomed)
    execute, store = executor(cluster, doomed)
    await execute.delete(KEY, BODY, [deletion()])
    assert cluster.calls == [("get", names.KIND, "demo"), ("delete", "ConfigMap", "demo")]
    assert store.children(KEY) == {}


@pytest.mark.parametrize(
    "change", [{"uid": "another"}, {"generation": 4}, {"deletionTimestamp": "2026-01-01T00:00:00Z"}], ids=str
)
async def test_nothing_is_deleted_for_a_model_deployment_that_has_changed(change):
    changed = BODY | {"metadata": BODY["metadata"] | change}
    cluster = Recorder(changed, manifest("ConfigMap", uid="u", resourceVersion="1"))
    with pytest.raises(Conflict):
        await executor(cluster)[0].delete(KEY, BODY, [deletion()])
    assert ("ConfigMap", "demo") in cluster.objects


async def test_a_status_that_says_nothing_new_is_not_written():
    cluster = Recorder(BODY)
    execute, _ = executor(cluster)
    assert not await execute.write_status(KEY, BODY, {"replicas": 1})
    assert cluster.calls == []
    assert await execute.write_status(KEY, BODY, {"replicas": 2})


async def test_an_event_names_its_object_and_fits_what_the_api_server_takes():
    cluster = Recorder()
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    await executor(cluster)[0].post(BODY, [Event("Normal", "Ready", "x" * 5000)], now)
    event = cluster.posted[0]
    assert event["involvedObject"]["uid"] == "owner"
    assert event["lastTimestamp"] == "2026-01-02T03:04:05Z"
    assert len(event["message"]) == 1024


async def test_a_guarded_write_is_refused_when_the_rollout_has_moved_meanwhile():
    seen, live = ({**BODY, "status": {"rollout": {"phase": phase}}} for phase in ("Shifting", "RollingBack"))
    cluster = Recorder(live)
    with pytest.raises(Conflict):
        await executor(cluster)[0].apply(KEY, [missing("Service")], guard=seen)
    assert [verb for verb, _, _ in cluster.calls] == ["get"]


async def test_a_guarded_status_is_refused_when_anything_about_the_object_has_changed():
    old = BODY | {"metadata": dict(BODY["metadata"], resourceVersion="6")}
    execute, _ = executor(Recorder(BODY))
    with pytest.raises(Conflict):
        await execute.write_status(KEY, old, {"replicas": 2}, guarded=True)
    assert await execute.write_status(KEY, old, {"replicas": 2})
    assert await execute.write_status(KEY, BODY, {"replicas": 2}, guarded=True)
