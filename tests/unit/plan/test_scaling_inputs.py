"""What the law of scaling is asked and shown of a ModelDeployment, and what a revision takes from what it learned."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.unit.plan.verdicts import VERDICT
from tritonfleet.api import names
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.plan.autoscale import Counters, Fit, Memory, PodSample, PodState, Policy, decide
from tritonfleet.plan.rollout import TRAITS, Phase
from tritonfleet.plan.scaling import autoscaling_policy, has_slo, loaded_model, observation, remembered
from tritonfleet.plan.world import ChildId, GpuPool
from tritonfleet.triton import schema

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
SLO = {"latency": {"percentile": 95, "target": "50ms"}, "throughput": 20}
SCALED = {"slo": SLO, "autoscaling": {"minReplicas": 2, "maxReplicas": 10}}


def deployment(**spec):
    model = {"model": {"uri": "s3://models/m/1", "backend": "tensorrt"}}
    return ModelDeployment.parse({"metadata": {"name": "m", "namespace": "shop"}, "spec": model | spec})


def test_the_policy_is_the_spec_in_si_units():
    behavior = {"scaleUp": {"maxFactor": 2}, "scaleDown": {"stabilizationWindow": "5m", "maxPercent": 20}}
    spec = {
        "slo": SLO,
        "autoscaling": {
            "minReplicas": 2,
            "maxReplicas": 10,
            "capacityHint": 30,
            "forecast": False,
            "behavior": behavior,
        },
        "batching": {"maxBatchSize": 8, "dynamic": {"maxQueueDelay": "2ms"}},
        "instances": [{"kind": "GPU", "count": 2}],
        "server": {"gpu": {"count": 2}},
    }
    assert autoscaling_policy(deployment(**spec), NOW) == Policy(
        latency_target_seconds=0.05,
        percentile=95,
        throughput=20,
        min_replicas=2,
        max_replicas=10,
        max_batch_size=8,
        max_queue_delay_seconds=0.002,
        instances=4,
        capacity_hint=30,
        scale_up_factor=2,
        scale_down_percent=20,
        stabilization_seconds=300,
        forecast=False,
    )


def test_omitted_fields_have_the_autoscalers_defaults():
    policy = autoscaling_policy(deployment(slo={"throughput": 5}, autoscaling={"maxReplicas": 3}), NOW)
    assert policy == Policy(latency_target_seconds=None, throughput=5, min_replicas=1, max_replicas=3)


LOADED = {"largestBatch": 32, "concurrentBatches": 3}
"""What the fetch step reports of an artifact with a batch size and instances of its own."""


@pytest.mark.parametrize(
    ("spec", "batch", "instances"),
    [
        ({}, 32, 3),
        ({"batching": {"dynamic": {"maxQueueDelay": "2ms"}}}, 32, 3),
        ({"batching": {"maxBatchSize": 8, "dynamic": {}}}, 8, 3),
        ({"instances": [{"kind": "CPU", "count": 5}]}, 32, 5),
    ],
)
def test_what_the_spec_leaves_to_the_artifact_is_planned_with_as_the_fetch_step_found_it(spec, batch, instances):
    policy = autoscaling_policy(deployment(**SCALED, **spec), NOW, LOADED)
    assert (policy.max_batch_size, policy.instances) == (batch, instances)


def test_the_stable_revision_is_the_one_that_is_planned_with():
    revisions = [{"name": "m-2", "largestBatch": 4}, {"name": "m-1", "largestBatch": 32}]
    assert loaded_model({"status": {"revision": {"stable": "m-1"}, "revisions": revisions}})["largestBatch"] == 32
    assert loaded_model({"status": {"revisions": revisions}}) == {}
    assert loaded_model({}) == {}


@pytest.mark.parametrize("autoscaling", [None, {"mode": "External"}])
def test_where_others_decide_both_limits_are_their_number(autoscaling):
    spec = {"slo": SLO, "replicas": 4} | ({"autoscaling": autoscaling} if autoscaling else {})
    policy = autoscaling_policy(deployment(**spec), NOW)
    assert (policy.min_replicas, policy.max_replicas) == (4, 4)


def test_the_autoscaler_runs_for_models_with_an_slo_and_pods():
    assert has_slo(deployment(**SCALED))
    assert has_slo(deployment(slo=SLO))
    assert not has_slo(deployment())
    assert not has_slo(deployment(**SCALED, suspend=True))
    assert not has_slo(deployment(slo=SLO, replicas=0))


def pod(name, revision, *, ready=None, blocked=False, **metadata):
    conditions = []
    if ready:
        conditions.append({"type": "Ready", "status": "True", "lastTransitionTime": ready})
    if blocked:
        conditions.append({"type": "PodScheduled", "status": "False", "reason": "Unschedulable"})
    return {
        "metadata": {
            "name": name,
            "uid": name,
            "labels": {names.REVISION_LABEL: revision},
            "creationTimestamp": "2026-01-01T12:00:00Z",
            **metadata,
        },
        "spec": {"containers": []},
        "status": {"phase": "Running", "conditions": conditions},
    }


def test_the_autoscaler_gets_the_existing_pods(world):
    world.edit(**SCALED)
    world.settle()
    (revision,) = world.revisions()
    world.pods = [
        pod("ready", revision, ready="2026-01-01T12:01:02Z"),
        pod("blocked", revision, blocked=True),
        pod("leaving", revision, ready="2026-01-01T12:01:02Z", deletionTimestamp="2026-01-01T12:05:00Z"),
        pod("evicted", revision) | {"status": {"phase": "Failed"}},
    ]
    seen = observation(world.observe())
    start = NOW.timestamp()
    assert seen.pods == (
        PodState("ready", revision, start, start + 62),
        PodState("blocked", revision, start, None, schedulable=False),
    )
    assert (seen.replicas, seen.schedulable, seen.samples, seen.history) == (2, None, (), None)


def test_a_change_of_revision_is_in_progress_until_the_new_one_serves(world):
    world.edit(**SCALED)
    world.settle()
    (old,) = world.revisions()
    world.make_ready(old)
    world.settle()
    assert (observation(world.observe()).serving, observation(world.observe()).rolling) == (old, False)
    world.edit(model={"uri": "s3://models/m/2", "backend": "onnxruntime"})
    world.settle()
    assert (observation(world.observe()).serving, observation(world.observe()).rolling) == (old, True)
    new = world.revisions()[1]
    world.make_ready(new)
    world.settle()
    assert (observation(world.observe()).serving, observation(world.observe()).rolling) == (new, False)


def in_rollout(world, phase, replicas=4):
    """Let the world be in a rollout of stable, shrunk to one pod, and a canary whose pods carry the rest."""
    world.edit(**SCALED)
    world.settle()
    (stable,) = world.revisions()
    world.make_ready(stable)
    world.settle()
    deployment = next(child for child in world.children.values() if child["kind"] == "Deployment")
    deployment["spec"]["replicas"] = 1
    world.status = {**world.status, "rollout": {"phase": phase, "replicas": replicas}}
    world.pods = [pod("s", stable, ready="2026-01-01T12:01:02Z"), pod("c1", "c" * 10, ready="2026-01-01T12:01:02Z")]
    world.pods.append(pod("c2", "c" * 10))
    world.scaling = None
    return stable


@pytest.mark.parametrize("phase", [phase for phase in Phase if TRAITS[phase].under_way])
def test_in_every_phase_of_a_rollout_nothing_is_taken_away_and_all_that_carry_traffic_count(world, phase):
    in_rollout(world, phase)
    seen = observation(world.observe())
    assert (seen.rolling, seen.replicas) == (True, 4)
    assert [each.uid for each in seen.pods] == ["s", "c1"]


@pytest.mark.parametrize("phase", [phase for phase in Phase if not TRAITS[phase].under_way])
def test_scale_in_is_allowed_while_the_spec_has_a_rejected_revision(world, phase):
    in_rollout(world, phase)
    world.status["revision"] = {"target": "m-1", "stable": "m-2"}
    seen = observation(world.observe())
    assert (seen.rolling, seen.replicas, len(seen.pods)) == (False, 1, 3)


def test_a_canary_that_never_becomes_ready_does_not_block_scale_out(world):
    stable = in_rollout(world, Phase.PROVISIONING, replicas=1)
    world.pods = [pod("s", stable, ready="2026-01-01T12:01:02Z"), pod("c", "c" * 10)]
    policy = autoscaling_policy(deployment(slo=SLO, autoscaling={"maxReplicas": 10, "capacityHint": 10}), NOW)
    memory, verdict = Memory(), None
    for tick in range(120):
        now = NOW.timestamp() + 3600 + 5 * tick
        total = 30.0 * 5 * tick
        counters = Counters(total, 0, total, total, total * 4e4, 0, total * 4e4, 0)
        seen = observation(world.observe(), (PodSample("s", NOW.timestamp() + 30, stable, now, counters),))
        verdict = decide(policy, memory, replace(seen, replicas=verdict.replicas if verdict else 1), now)
        memory = verdict.memory
    assert verdict.replicas > 1


def test_the_demand_of_stable_and_canary_is_one(world):
    stable = in_rollout(world, Phase.ANALYZING)
    memory, policy = Memory(), autoscaling_policy(deployment(**SCALED), NOW)
    for tick in range(24):
        now = NOW.timestamp() + 3600 + 5 * tick
        samples = tuple(
            PodSample(uid, NOW.timestamp() + 30, revision, now, Counters(n := rate * 5.0 * tick, 0, n, n, n, 0, n, 0))
            for uid, revision, rate in (("s", stable, 30), ("c1", "c" * 10, 10))
        )
        verdict = decide(policy, memory, observation(world.observe(), samples), now)
        memory = verdict.memory
    assert verdict.rate == pytest.approx(40, rel=0.05)


@pytest.mark.parametrize(("free", "room"), [(0, 3), (1, 3), (4, 4)])
def test_room_is_what_runs_and_what_is_free_and_never_less_than_what_was_asked_for(world, free, room):
    world.edit(**SCALED, server={"gpu": {"count": 2}})
    world.scaling = replace(VERDICT, replicas=3)
    world.settle()
    (revision,) = world.revisions()
    world.pods = [pod("a", revision), pod("b", revision), pod("c", revision, blocked=True)]
    world.gpus = GpuPool("nvidia.com/gpu", matching_nodes=2, free=free, largest_free_on_one_node=free)
    assert observation(world.observe()).schedulable == room


def test_replicas_changed_by_others_do_not_count_as_the_last_decision(world):
    world.edit(**SCALED)
    world.scaling = replace(VERDICT, replicas=3)
    world.settle()
    child = ChildId("Deployment", names.revision_name("m", world.revisions()[0]))
    world.children[child]["spec"]["replicas"] = 9
    assert observation(world.observe()).replicas == 3
    world.scaling = None
    assert observation(world.observe()).replicas == 9


def test_a_model_that_resumes_is_one_that_asks_for_what_was_decided_last(world):
    world.edit(**SCALED)
    world.scaling = replace(VERDICT, replicas=5)
    world.settle()
    world.edit(suspend=True)
    world.settle()
    world.scaling = None
    world.edit(suspend=False)
    # The tick may look before the reconcile has written a Deployment.
    assert (world.replicas(), observation(world.observe()).replicas) == ([0], 5)


def test_the_memory_of_the_status_is_read_back(world):
    assert remembered(world.observe().body) == {}
    world.edit(**SCALED)
    world.scaling = replace(VERDICT, memory=Memory(at_seconds=NOW.timestamp()))
    world.settle()
    memory = Memory.restore(remembered(world.observe().body), NOW.timestamp())
    assert memory.at_seconds == NOW.timestamp()


SHED = {
    "slo": {"latency": {"target": "100ms"}, "loadShedding": True},
    "batching": {"maxBatchSize": 8, "dynamic": {"maxQueueSize": 500}},
}
FIT = Fit(weight=10.0, x=30.0, y=0.25, xx=130.0, xy=0.95)


def queue(world, revision=-1):
    name = names.revision_name("m", world.revisions()[revision])
    text = world.children[ChildId("ConfigMap", name)]["data"]["tritonfleet.pbtxt"]
    return schema.parse_text(text, name).dynamic_batching.default_queue_policy


def knowing(world):
    (revision,) = world.revisions()
    world.scaling = replace(VERDICT, memory=Memory(fits={revision: FIT}))


def test_an_unknown_model_may_queue_for_half_the_target(world):
    world.edit(**SHED)
    world.settle()
    policy = queue(world)
    assert (policy.default_timeout_microseconds, policy.max_queue_size) == (50_000, 500)


def test_a_known_model_may_queue_for_what_a_full_batch_leaves_of_the_target(world):
    world.edit(slo={"latency": {"target": "100ms"}}, batching=SHED["batching"])
    world.settle()
    knowing(world)
    world.settle()
    world.edit(**SHED)
    world.settle()
    alpha, beta = FIT.line()
    timeout = 0.1 - (alpha + 8 * beta) - 0.002
    assert 0.025 < timeout < 0.08
    policy = queue(world)
    assert policy.default_timeout_microseconds == pytest.approx(timeout * 1e6, abs=1)
    assert len(world.revisions()) == 2


def test_the_queue_is_no_shorter_than_asked_for_since_a_full_one_stalls_triton(world):
    world.edit(slo={"latency": {"target": "100ms"}}, batching=SHED["batching"])
    world.settle()
    knowing(world)
    world.edit(**SHED)
    world.settle()
    assert queue(world).max_queue_size == 500


def test_knowing_better_starts_no_rollout(world):
    world.edit(**SHED)
    world.settle()
    before = world.children
    knowing(world)
    assert [plan.applies for plan in world.settle()] == [(), ()]
    assert (world.children, queue(world).default_timeout_microseconds) == (before, 50_000)


@pytest.mark.parametrize(
    "change", [{"latency": {"target": "80ms"}, "loadShedding": True}, {"latency": {"target": "100ms"}}]
)
def test_another_target_or_none_for_shedding_is_another_revision(world, change):
    world.edit(**SHED)
    world.settle()
    world.edit(slo=change)
    world.settle()
    assert len(world.revisions()) == 2


def test_the_target_alone_is_no_other_revision(world):
    world.edit(**SCALED)
    world.settle()
    world.edit(slo={"latency": {"target": "9ms"}})
    world.settle()
    assert len(world.revisions()) == 1


def test_every_priority_sheds_what_is_late(world):
    priorities = {"priorityLevels": 2, "defaultPriority": 2, "priorityPolicies": [{"level": 1, "maxQueueSize": 7}]}
    world.edit(slo=SHED["slo"], batching={"maxBatchSize": 8, "dynamic": priorities})
    world.settle()
    name = names.revision_name("m", world.revisions()[0])
    config = schema.parse_text(world.children[ChildId("ConfigMap", name)]["data"]["tritonfleet.pbtxt"], name)
    first = config.dynamic_batching.priority_queue_policy[1]
    assert (first.default_timeout_microseconds, first.max_queue_size) == (50_000, 7)


def test_a_raw_timeout_beside_the_derived_one_is_refused(world):
    raw = {"dynamic_batching": {"default_queue_policy": {"default_timeout_microseconds": 1000}}}
    world.edit(**SHED, modelConfig=raw)
    world.settle()
    assert world.condition("Stalled")[:2] == ("True", "ConfigInvalid")
    assert "which `slo.loadShedding` also sets" in world.condition("ConfigValid")[2]
