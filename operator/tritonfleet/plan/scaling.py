"""Between a ModelDeployment and the autoscaler: its policy, its observation, and what comes of its verdict."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from tritonfleet.api import names
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.plan import revisions
from tritonfleet.plan.autoscale import History, LatencyReading, Memory, Observation, PodSample, PodState, Policy
from tritonfleet.plan.objects import UNLEARNED, Learned
from tritonfleet.plan.pods import created_at, exists, ready_since, unschedulable
from tritonfleet.plan.rollout.phase import RUNNING
from tritonfleet.plan.schedules import Limits, limits
from tritonfleet.plan.world import Manifest, Observed
from tritonfleet.triton.config import model_config
from tritonfleet.triton.parallelism import executions_side_by_side, largest_batch


def has_slo(deployment: ModelDeployment) -> bool:
    """Tell whether verdicts are wanted: an SLO is set and pods run, whoever owns their number."""
    spec = deployment.spec
    return spec.slo is not None and not spec.suspended and (spec.scaled_by_us or spec.declared_replicas > 0)


def policy_of(deployment: ModelDeployment, now: datetime) -> Policy:
    """Return the autoscaler's policy at this moment, with schedules applied.

    Without `autoscaling`, or with mode External, both limits are `replicas`: only attainment is then of interest.
    Raises InvalidSpec for a time zone that does not exist. Only for ModelDeployments with an SLO (`has_slo`).
    """
    spec, allowed = deployment.spec, limits_of(deployment, now)
    latency = spec.slo.latency if spec.slo is not None else None
    throughput = spec.slo.throughput if spec.slo is not None else None
    config = model_config(spec, deployment.model_name)
    found: dict[str, Any] = {}
    if spec.scales_by_slo and spec.autoscaling is not None:
        found["capacity_hint"] = spec.autoscaling.capacity_hint
        found["forecast"] = spec.autoscaling.forecast
        if spec.autoscaling.behavior is not None:
            down = spec.autoscaling.behavior.scale_down
            found["scale_up_factor"] = spec.autoscaling.behavior.scale_up.max_factor
            found["scale_down_percent"] = float(down.max_percent)
            found["stabilization_seconds"] = duration_seconds(down.hold_window)
    return Policy(
        latency_target_seconds=duration_seconds(latency.target) if latency is not None else None,
        percentile=latency.percentile if latency is not None else 99.0,
        throughput=throughput or 0.0,
        min_replicas=allowed.lowest,
        max_replicas=allowed.highest,
        max_batch_size=largest_batch(config),
        max_queue_delay_seconds=config.dynamic_batching.max_queue_delay_microseconds / 1e6,
        instances=executions_side_by_side(config, spec.server.gpu.count),
        **found,
    )


def limits_of(deployment: ModelDeployment, now: datetime) -> Limits:
    """Return the limits that the autoscaler may choose between; raises InvalidSpec for an unknown time zone."""
    spec = deployment.spec
    if spec.scales_by_slo and spec.autoscaling is not None:
        return limits(spec.autoscaling, now)
    return Limits(spec.declared_replicas, spec.declared_replicas)


def observation(
    observed: Observed,
    samples: Iterable[PodSample] = (),
    latency: LatencyReading | None = None,
    history: History | None = None,
) -> Observation:
    """Return the autoscaler's observation; all but the last three arguments change only with the objects in the store.

    What it has decided in this process counts as what is asked for, whatever somebody else has made of it meanwhile;
    before that what is held, so that a model which was suspended starts with what it had.
    """
    known = revisions.known_revisions(observed)
    serving = revisions.serving_hash(observed, known)
    pods = _shown(observed, serving)
    running = known[serving].deployment if serving is not None else None
    if _is_carried_out(observed.body):
        replicas = observed.scaling.replicas if observed.scaling is not None else held(observed, running)
    else:
        replicas = _carrying(observed.body) or asked_for(running)
    return Observation(
        replicas=replicas,
        pods=pods,
        samples=tuple(samples),
        serving=serving,
        rolling=_rolling(observed.body),
        latency=latency,
        schedulable=_schedulable(observed, pods, replicas),
        history=history,
    )


def pod_state(pod: Manifest) -> PodState:
    """Return what the autoscaler sees of one pod."""
    metadata, ready = pod["metadata"], ready_since(pod)
    return PodState(
        uid=metadata["uid"],
        revision=(metadata.get("labels") or {}).get(names.REVISION_LABEL, ""),
        created_seconds=created_at(pod).timestamp(),
        ready_seconds=ready.timestamp() if ready is not None else None,
        schedulable=unschedulable(pod) is None,
    )


def asked_for(deployment: Manifest | None) -> int:
    """Return the replicas that a Deployment asks for."""
    return int((deployment or {}).get("spec", {}).get("replicas", 0))


def held(observed: Observed, serving: Manifest | None) -> int:
    """Return what there was before anybody could decide: what runs, else what was decided last, else nothing."""
    decided = ((observed.body.get("status") or {}).get("autoscaling") or {}).get("desiredReplicas")
    return _carrying(observed.body) or asked_for(serving) or int(decided or 0)


def remembered(body: Manifest) -> dict[str, Any]:
    """Return the autoscaler's memory as the status keeps it, for `Memory.restore`; empty if there is none."""
    memory = ((body.get("status") or {}).get("autoscaling") or {}).get("memory")
    return dict(memory) if isinstance(memory, dict) else {}


def learned(deployment: ModelDeployment, observed: Observed, serving: str | None, now: datetime) -> Learned:
    """Return what was learned of one replica of the serving revision, from this process or from the status.

    Nothing is looked up where nothing depends on it.
    """
    verdict = observed.scaling
    if deployment.spec.slo is None or not deployment.spec.slo.shed_late:
        return UNLEARNED
    memory = verdict.memory if verdict is not None else Memory.restore(remembered(observed.body), now.timestamp())
    fit = memory.fits.get(serving or "")
    if fit is None or not fit.confident:
        return UNLEARNED
    return Learned(*fit.line())


def _is_carried_out(body: Manifest) -> bool:
    autoscaling = body["spec"].get("autoscaling") or {}
    return bool(autoscaling) and autoscaling.get("mode") != "External" and not autoscaling.get("advisory")


def _rolling(body: Manifest) -> bool:
    """Tell whether a change of revision is under way; one that was rejected and taken back no longer is."""
    status = body.get("status") or {}
    if "rollout" in status:
        return status["rollout"].get("phase") in RUNNING
    roles = status.get("revision") or {}
    return bool(roles.get("target") != roles.get("stable"))


def _carrying(body: Manifest) -> int:
    """Return the pods that carry all traffic during a rollout in steps, whatever their revision; 0 without one."""
    rollout = (body.get("status") or {}).get("rollout") or {}
    return int(rollout.get("replicas") or 0) if rollout.get("phase") in RUNNING else 0


def _shown(observed: Observed, serving: str | None) -> tuple[PodState, ...]:
    """Return the pods that the autoscaler sees: those of every revision that may get requests.

    A canary's pods that are not ready yet are no supply, and say nothing of how fast stable's become ready: one that
    never does must not keep stable from growing.
    """
    pods = tuple(pod_state(pod) for pod in observed.pods if exists(pod))
    if not _carrying(observed.body):
        return pods
    return tuple(pod for pod in pods if pod.revision == serving or pod.ready_seconds is not None)


def _schedulable(observed: Observed, pods: tuple[PodState, ...], replicas: int) -> int | None:
    """Count the pods that have a place and those that would still find one; nobody counts while none waits.

    Pods that wait are kept: without them no node would be added for them, and as soon as they are gone nobody knows
    any more that there is no room.
    """
    if observed.gpus is None:
        return None
    per_pod = max(1, _gpus_per_pod(observed))
    return max(replicas, sum(pod.schedulable for pod in pods) + observed.gpus.free // per_pod)


def _gpus_per_pod(observed: Observed) -> int:
    spec = observed.body["spec"].get("server") or {}
    return int((spec.get("gpu") or {}).get("count", 1))
