"""The scripted cluster behaves as a real one does, where the operator can tell."""

from datetime import timedelta
from typing import Any

import pytest

from tests.sim.rollout.apiserver import ApiServer, Refusal, merge
from tests.sim.rollout.behavior import Behavior
from tests.sim.rollout.cluster import START, Cluster, body_of
from tests.sim.rollout.controllers import control_deployments
from tests.sim.rollout.gateway import ROUTE, Gateway, by_service
from tests.sim.rollout.pool import Pool
from tests.sim.rollout.traffic import Traffic, readings
from tests.sim.rollout.watching import Metrics, Watcher
from tritonfleet.api import names
from tritonfleet.api.canary import Canary
from tritonfleet.plan.rollout import Attempt, Phase, State, rollout_document
from tritonfleet.plan.rollout.analysis import Outcome
from tritonfleet.plan.world import ChildId, Manifest

OLD, NEW = "a" * 10, "b" * 10


def deployment(revision: str = OLD, replicas: int = 2, gpus: int = 1) -> Manifest:
    labels = names.revision_labels("m", revision)
    limits = {"nvidia.com/gpu": str(gpus)}
    container = {"name": "triton", "image": "triton:1", "resources": {"limits": limits}}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    metadata = {"name": f"m-{revision}", "labels": labels}
    return {"kind": "Deployment", "metadata": metadata, "spec": {"replicas": replicas, "template": template}}


def front(selector: dict[str, str]) -> Manifest:
    return {"kind": "Service", "metadata": {"name": "m", "labels": {}}, "spec": {"selector": selector}}


def route(old: int, new: int) -> Manifest:
    backends = [{"name": f"m-{revision}", "weight": weight} for revision, weight in ((OLD, old), (NEW, new))]
    direct = {"matches": [{"headers": [{"name": "x-tritonfleet-revision"}]}], "backendRefs": [{"name": f"m-{NEW}"}]}
    rules = [{"backendRefs": backends}, direct]
    return {"kind": "HTTPRoute", "metadata": {"name": "m"}, "spec": {"parentRefs": [{"name": "gw"}], "rules": rules}}


@pytest.fixture
def api() -> ApiServer:
    return ApiServer(body_of({"replicas": 2}))


@pytest.fixture
def cluster(api: ApiServer) -> Cluster:
    return Cluster(api, Pool({"node-a": 2}))


def test_an_apply_takes_back_what_it_set_before_and_keeps_what_others_set() -> None:
    existing = {"spec": {"a": 1, "b": 2, "theirs": 3}}

    assert merge(existing, {"spec": {"a": 1, "b": 2}}, {"spec": {"a": 5}}) == {"spec": {"a": 5, "theirs": 3}}


def test_a_write_that_changes_nothing_makes_no_version(api: ApiServer) -> None:
    api.apply(deployment(), START, exists=False)
    first = api.children[ChildId("Deployment", f"m-{OLD}")]
    api.apply(deployment(), START, exists=True)

    assert api.children[ChildId("Deployment", f"m-{OLD}")] is first


def test_only_a_change_of_the_content_is_a_new_generation(api: ApiServer) -> None:
    target = ChildId("Deployment", f"m-{OLD}")
    api.apply(deployment(), START, exists=False)
    api.report(target, {"replicas": 1})
    assert api.children[target]["metadata"]["generation"] == 1
    api.apply(deployment(replicas=3), START, exists=True)

    assert api.children[target]["metadata"]["generation"] == 2
    assert api.children[target]["status"] == {"replicas": 1}


def test_who_saw_an_older_object_may_not_write_its_status(api: ApiServer) -> None:
    seen = api.body
    api.write_status(seen, {"a": 1}, guarded=True)

    with pytest.raises(Refusal):
        api.write_status(seen, {"a": 2}, guarded=True)
    assert api.body["status"] == {"a": 1}


def test_who_takes_an_object_to_be_missing_cannot_overrule_it(api: ApiServer) -> None:
    api.apply(deployment(), START, exists=False)

    with pytest.raises(Refusal):
        api.apply(deployment(), START, exists=False)


def test_a_pod_waits_for_a_gpu_until_the_one_before_is_really_gone(cluster: Cluster) -> None:
    cluster.api.apply(deployment(replicas=2), START, exists=False)
    cluster.pass_time(1)
    cluster.pass_time(10)
    cluster.api.apply(deployment(NEW, replicas=1), cluster.now, exists=False)
    cluster.settle()
    assert [pod.node for pod in cluster.pods(NEW)] == [""]
    cluster.api.apply(deployment(replicas=1), cluster.now, exists=True)
    cluster.settle()
    cluster.pass_time(4)
    assert (len(cluster.pods(OLD)), [pod.node for pod in cluster.pods(NEW)]) == (2, [""])
    cluster.pass_time(1)

    assert (len(cluster.pods(OLD)), [pod.node for pod in cluster.pods(NEW)]) == (1, ["node-a"])
    assert not cluster.pool.serving(NEW)
    cluster.pass_time(10)
    assert len(cluster.pool.serving(NEW)) == 1


def test_a_node_takes_its_pods_along_and_the_deployment_makes_others(cluster: Cluster) -> None:
    cluster.pool.gpus["node-b"] = 2
    cluster.api.apply(deployment(replicas=4), START, exists=False)
    cluster.pass_time(1)
    cluster.pool.lose_node("node-a")
    cluster.settle()

    assert len(cluster.pods(OLD)) == 4
    assert [pod.node for pod in cluster.pods(OLD)].count("") == 2
    assert cluster.api.children[ChildId("Deployment", f"m-{OLD}")]["status"]["replicas"] == 4


def test_a_crash_resets_the_counters_and_differs_from_another_restart(cluster: Cluster) -> None:
    cluster.behaviors[""] = Behavior(ready_after_seconds=1, crashes_after_seconds=10)
    cluster.api.apply(deployment(replicas=1), START, exists=False)
    cluster.pass_time(1)
    cluster.pass_time(1)
    (pod,) = cluster.pods(OLD)
    first = pod.manifest()
    Traffic().flow({OLD: 1.0}, cluster.pool, 5)
    assert readings([pod])[f"uid-{pod.name}"].success == 497
    cluster.pass_time(10)

    assert (pod.ready, pod.restarts) == (False, 1)
    assert readings([pod])[f"uid-{pod.name}"].success == 0
    (container,) = pod.manifest()["status"]["containerStatuses"]
    assert container["restartCount"] == 1
    assert first["status"]["containerStatuses"][0]["restartCount"] == 0


def test_the_gateway_accepts_late_and_acts_later(api: ApiServer) -> None:
    gateway, pool = Gateway(accept_seconds=2, effect_seconds=3), Pool({})
    api.apply(route(100, 0), START, exists=False)
    seen = []
    for second in range(7):
        gateway.step(api, pool, START + timedelta(seconds=second))
        seen.append(("status" in api.children[ROUTE], gateway.in_force))

    assert [accepted for accepted, _ in seen] == [False] * 2 + [True] * 5
    assert [shares for _, shares in seen] == [{}] * 5 + [{OLD: 1.0}] * 2


def test_a_route_that_is_not_admitted_leaves_the_last_one_in_force(api: ApiServer) -> None:
    gateway, pool = Gateway(accept_seconds=0, effect_seconds=0), Pool({})
    api.apply(route(100, 0), START, exists=False)
    gateway.step(api, pool, START)
    gateway.admits = False
    api.apply(route(50, 50), START, exists=True)
    gateway.step(api, pool, START)

    accepted = api.children[ROUTE]["status"]["parents"][0]["conditions"][0]
    assert (accepted["status"], accepted["observedGeneration"]) == ("False", 2)
    assert gateway.in_force == {OLD: 1.0}


def test_the_front_service_divides_requests_over_the_ready_pods_it_selects(cluster: Cluster) -> None:
    for revision, replicas in ((OLD, 3), (NEW, 1)):
        cluster.api.apply(deployment(revision, replicas, gpus=0), START, exists=False)
    cluster.api.apply(front(names.serving_selector("m", OLD)), START, exists=False)
    cluster.pass_time(1)
    cluster.pass_time(10)
    assert by_service(cluster.api, cluster.pool) == {OLD: 1.0}
    cluster.api.apply(front({names.OWNER_LABEL: "m"}), cluster.now, exists=True)

    assert by_service(cluster.api, cluster.pool) == {OLD: 0.75, NEW: 0.25}


def test_requests_for_a_revision_without_a_ready_pod_fail(cluster: Cluster) -> None:
    cluster.gateway.in_force = {OLD: 0.9, NEW: 0.1}
    cluster.traffic.flow(cluster.gateway.in_force, cluster.pool, 10)

    assert cluster.traffic.unserved == pytest.approx(1000)


def test_a_canary_that_refuses_everything_counts_nothing(cluster: Cluster) -> None:
    cluster.behaviors[""] = Behavior(ready_after_seconds=0, rejects=True)
    cluster.api.apply(deployment(replicas=1), START, exists=False)
    cluster.pass_time(1)
    cluster.pass_time(1)
    cluster.traffic.flow({OLD: 1.0}, cluster.pool, 10)

    (reading,) = readings(cluster.pods(OLD)).values()
    assert (reading.success, reading.failures) == (0, {"BACKEND": 0})
    assert cluster.traffic.failed == pytest.approx(1000)


def watched(cluster: Cluster, **said: Any) -> Manifest:
    for revision in (OLD, NEW):
        cluster.api.apply(deployment(revision, 1), START, exists=False)
    cluster.gateway.in_force = {OLD: 0.5, NEW: 0.5}
    for _ in range(2):
        cluster.pool.step(cluster.now)
        control_deployments(cluster.api, cluster.pool, cluster.behaviors, cluster.now)
    cluster.now += timedelta(seconds=20)
    cluster.pool.step(cluster.now)
    plan = Canary.model_validate({"analysis": {"interval": "10s", "warmup": "0s"}})
    phase = said.pop("phase", Phase.ANALYZING)
    attempt = Attempt(**{"canary": NEW, "plan": plan, "applied_weight": 50, **said})
    state = State(phase, reason="AnalysisRunning", stable=OLD, attempt=attempt)
    spec = {"traffic": {"gateway": {"parentRefs": [{"name": "gw"}]}}}
    return {**body_of(spec), "status": {"rollout": rollout_document(state, "m")}}


def look(cluster: Cluster, watcher: Watcher, body: Manifest, seconds: float = 10) -> Any:
    watcher.look(body, cluster.pool, cluster.metrics, cluster.now)
    cluster.traffic.flow({OLD: 0.5, NEW: 0.5}, cluster.pool, seconds)
    cluster.now += timedelta(seconds=seconds)
    return watcher.look(body, cluster.pool, cluster.metrics, cluster.now)


def test_a_window_holds_what_was_counted_between_its_ends(cluster: Cluster) -> None:
    evidence = look(cluster, Watcher(), watched(cluster))

    assert evidence.window.end_seconds == cluster.now.timestamp()
    assert (evidence.window.canary.requests, evidence.window.stable.requests) == (499, 499)
    assert evidence.window.desired_share == 0.5


def test_a_process_that_starts_again_needs_a_whole_window(cluster: Cluster) -> None:
    body = watched(cluster)
    look(cluster, Watcher(), body, seconds=6)

    assert look(cluster, Watcher(), body, seconds=6).window is None


def test_an_outage_and_missing_series_are_distinguished(cluster: Cluster) -> None:
    body = watched(cluster)
    cluster.metrics = Metrics(away="connection refused")
    assert look(cluster, Watcher(), body).window.unreachable == "connection refused"
    cluster.metrics = Metrics(blind_to_canary=True)

    window = look(cluster, Watcher(), body).window
    assert (window.unreachable, dict(window.canary.pods), len(window.canary.missing)) == ("", {}, 1)
    assert len(window.stable.pods) == 1


def test_verification_asks_every_ready_canary_pod(cluster: Cluster) -> None:
    body = watched(cluster, phase=Phase.VERIFYING, applied_weight=0)
    good = Watcher().look(body, cluster.pool, cluster.metrics, cluster.now)
    assert good is not None
    assert good.verification is not None
    assert (good.verification.outcome, good.verification.pods) == (Outcome.PASSED, 1)
    cluster.pods(NEW)[0].behavior = Behavior(breaks_contract=True)
    bad = Watcher().look(body, cluster.pool, cluster.metrics, cluster.now)

    assert bad is not None
    assert bad.verification is not None
    assert bad.verification.outcome is Outcome.FAILED


def test_a_copy_goes_its_own_way(cluster: Cluster) -> None:
    cluster.api.apply(deployment(), START, exists=False)
    cluster.pass_time(1)
    other = cluster.copy()
    other.pass_time(30)
    other.pool.lose_node("node-a")
    other.api.delete(
        ChildId("Deployment", f"m-{OLD}"), other.api.children[ChildId("Deployment", f"m-{OLD}")]["metadata"]["uid"]
    )

    assert len(cluster.api.children) == 1
    assert [pod.ready for pod in cluster.pool.pods] == [False, False]
    assert cluster.now == START + timedelta(seconds=1)
