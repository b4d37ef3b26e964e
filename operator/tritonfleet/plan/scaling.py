"""Between a ModelDeployment and the autoscaler: its inputs, and how its verdict is applied.

`runtime` builds the autoscaler's policy and observation here (`autoscaling_policy()`, `observation()`), from the spec
and from the objects in the cluster; `reconcile()` turns the verdict into the number of pods (`size_of()`), within the
limits in force and unless the spec says the number itself. `cli/explain` and `cli/simulate` use the same policy.

The limits are `minReplicas` and `maxReplicas`, or those of a schedule. Schedules follow local time in their time zone,
including daylight saving changes: with `start: "02:30"` in Europe/Berlin on the day when clocks jump from 02:00 to
03:00, the schedule begins at 03:00; with `end: "02:30"` on the day when 02:30 occurs twice, it ends the second time.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tritonfleet.api import names
from tritonfleet.api.autoscaling import REPLICAS_MAX, Autoscaling, Day, Schedule
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.api.quantities import duration_seconds
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.autoscale import History, LatencyReading, Memory, Observation, PodSample, PodState, Policy
from tritonfleet.plan.objects import UNLEARNED, Learned
from tritonfleet.plan.pods import created_at, exists, ready_since, unschedulable
from tritonfleet.plan.revisions import KnownRevision, known_revisions, serving_hash
from tritonfleet.plan.rollout import traits_of
from tritonfleet.plan.sequences import is_stateful, splits_sequences
from tritonfleet.plan.world import Manifest, Observed
from tritonfleet.triton.config import model_config
from tritonfleet.triton.schema import executions_side_by_side, largest_batch


@dataclass(frozen=True, slots=True)
class Limits:
    """Fewest and most pods."""

    lowest: int
    highest: int


@dataclass(frozen=True, slots=True)
class Size:
    """The desired number of pods, and its limits."""

    replicas: int
    limits: Limits | None
    """None if they cannot be determined."""
    problem: InvalidSpec | None = None
    """Why the limits cannot be determined."""


def has_slo(deployment: ModelDeployment) -> bool:
    """Return whether the autoscaler evaluates it: an SLO is set and pods run, no matter who sets their number."""
    spec = deployment.spec
    return spec.slo is not None and not spec.suspend and (spec.scaled_by_us or spec.declared_replicas > 0)


NOT_LOADED: Final[Mapping[str, Any]] = {}
"""No pod has fetched the model yet, or an older operator's did."""


def loaded_model(body: Manifest) -> Mapping[str, Any]:
    """Return what the fetch step said of the stable revision's model, by the names in `status.revisions`."""
    status = body.get("status") or {}
    stable = (status.get("revision") or {}).get("stable")
    return next((entry for entry in status.get("revisions") or () if entry["name"] == stable), {})


def autoscaling_policy(deployment: ModelDeployment, now: datetime, loaded: Mapping[str, Any] = NOT_LOADED) -> Policy:
    """Return the autoscaler's policy at this moment, with schedules applied.

    `loaded` is the `loaded_model()`: it says how the model is batched where the spec leaves that to the artifact.

    Without `autoscaling`, or with mode External, both limits are `replicas`: only attainment is then of interest.
    Raises InvalidSpec for a time zone that does not exist. Only for ModelDeployments with an SLO (`has_slo`).
    """
    spec, allowed = deployment.spec, limits_of(deployment, now)
    latency = spec.slo.latency if spec.slo is not None else None
    throughput = spec.slo.throughput if spec.slo is not None else None
    queue_time = spec.slo.queue_time if spec.slo is not None else None
    config, gpus = model_config(spec, deployment.model_name), spec.server.gpu.count
    batch, copies = loaded.get("largestBatch"), loaded.get("concurrentBatches")
    says_batch = config.HasField("max_batch_size") and config.HasField("dynamic_batching")
    found: dict[str, Any] = {}
    if spec.scales_by_slo and spec.autoscaling is not None:
        found["capacity_hint"] = spec.autoscaling.capacity_hint
        found["forecast"] = spec.autoscaling.forecast
        if spec.autoscaling.behavior is not None:
            down = spec.autoscaling.behavior.scale_down
            found["scale_up_factor"] = spec.autoscaling.behavior.scale_up.max_factor
            found["scale_down_percent"] = float(down.max_percent)
            found["stabilization_seconds"] = duration_seconds(down.stabilization_window)
    return Policy(
        latency_target_seconds=duration_seconds(latency.target) if latency is not None else None,
        percentile=latency.percentile if latency is not None else 99.0,
        throughput=throughput or 0.0,
        queue_seconds=duration_seconds(queue_time) if queue_time is not None else None,
        availability=spec.slo.availability if spec.slo is not None else None,
        min_replicas=allowed.lowest,
        max_replicas=allowed.highest,
        max_batch_size=batch if batch and not says_batch else largest_batch(config),
        max_queue_delay_seconds=config.dynamic_batching.max_queue_delay_microseconds / 1e6,
        instances=copies if copies and not config.instance_group else executions_side_by_side(config, gpus),
        pooled=_is_pooled(deployment),
        **found,
    )


def _is_pooled(deployment: ModelDeployment) -> bool:
    """Return whether requests go to the least busy pod: through a gateway, unless a header chooses the pod.

    Envoy's default is the one of two with fewer requests; a Service chooses at random.
    """
    gateway = deployment.spec.traffic.gateway
    return gateway is not None and gateway.consistent_hash is None


def limits_of(deployment: ModelDeployment, now: datetime) -> Limits:
    """Return the limits that the autoscaler may choose between; raises InvalidSpec for an unknown time zone."""
    spec = deployment.spec
    if spec.scales_by_slo and spec.autoscaling is not None:
        return limits_in_force(spec.autoscaling, now)
    return Limits(spec.declared_replicas, spec.declared_replicas)


def observation(
    observed: Observed,
    samples: Iterable[PodSample] = (),
    latency: LatencyReading | None = None,
    history: History | None = None,
) -> Observation:
    """Return the autoscaler's observation; all but the last three arguments change only with the objects in the store.

    `replicas` is the last decision of this process, even if someone else has changed the Deployment since; before the
    first decision it is what runs, so that a resumed model starts with the replicas it had.
    """
    known = known_revisions(observed)
    serving = serving_hash(observed, known)
    pods = _shown(observed, serving)
    running = known[serving].deployment if serving is not None else None
    if _is_carried_out(observed.body):
        replicas = observed.scaling.replicas if observed.scaling is not None else current_replicas(observed, running)
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


def current_replicas(observed: Observed, serving: Manifest | None) -> int:
    """Return the replicas before the first decision: what runs, else the last decision in the status, else 0."""
    decided = ((observed.body.get("status") or {}).get("autoscaling") or {}).get("desiredReplicas")
    return _carrying(observed.body) or asked_for(serving) or int(decided or 0)


def remembered(body: Manifest) -> dict[str, Any]:
    """Return the autoscaler's memory from the status, for `Memory.restore`; empty if there is none."""
    memory = ((body.get("status") or {}).get("autoscaling") or {}).get("memory")
    return dict(memory) if isinstance(memory, dict) else {}


def learned(deployment: ModelDeployment, observed: Observed, serving: str | None, now: datetime) -> Learned:
    """Return what was learned about a replica of the serving revision; UNLEARNED unless `slo.loadShedding` needs it."""
    verdict = observed.scaling
    if deployment.spec.slo is None or not deployment.spec.slo.load_shedding:
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
    """Return whether a rollout is in progress; not after a rollback."""
    status = body.get("status") or {}
    if "rollout" in status:
        return traits_of(status["rollout"].get("phase")).under_way
    roles = status.get("revision") or {}
    return bool(roles.get("target") != roles.get("stable"))


def _carrying(body: Manifest) -> int:
    """Return the pods of all revisions that serve during a canary rollout; 0 without one."""
    rollout = (body.get("status") or {}).get("rollout") or {}
    return int(rollout.get("replicas") or 0) if traits_of(rollout.get("phase")).under_way else 0


def _shown(observed: Observed, serving: str | None) -> tuple[PodState, ...]:
    """Return the pods that the autoscaler sees: those of every revision that may get requests.

    Canary pods that are not ready are left out: they add no capacity, and one that never becomes ready must not keep
    stable from scaling out.
    """
    pods = tuple(pod_state(pod) for pod in observed.pods if exists(pod))
    if not _carrying(observed.body):
        return pods
    return tuple(pod for pod in pods if pod.revision == serving or pod.ready_seconds is not None)


def _schedulable(observed: Observed, pods: tuple[PodState, ...], replicas: int) -> int | None:
    """Count scheduled pods and those that would still fit; None while no pod is pending, since nodes are not counted.

    Pending pods are kept: the cluster autoscaler adds nodes for them, and they are how a lack of room is noticed.
    """
    if observed.gpus is None:
        return None
    per_pod = max(1, _gpus_per_pod(observed))
    return max(replicas, sum(pod.schedulable for pod in pods) + observed.gpus.free // per_pod)


def _gpus_per_pod(observed: Observed) -> int:
    spec = observed.body["spec"].get("server") or {}
    return int((spec.get("gpu") or {}).get("count", 1))


def kept_replicas(deployment: ModelDeployment, body: Manifest) -> int | None:
    """Return the replicas that `autoscaling` had when it was removed; None if it is set, or `replicas` is.

    They stay until `replicas` says otherwise: a fleet must not shrink to one pod because a field is gone.
    """
    spec = deployment.spec
    if spec.autoscaling is not None or spec.replicas is not None:
        return None
    decided = ((body.get("status") or {}).get("autoscaling") or {}).get("desiredReplicas")
    return min(max(1, decided), REPLICAS_MAX) if isinstance(decided, int) else None


def size_of(deployment: ModelDeployment, observed: Observed, serving: KnownRevision | None, now: datetime) -> Size:
    """Return the desired number of pods; absolute, so that applying it does not change it.

    It is at most 1 where more would break the sequences of the model that serves.
    """
    size = _size_of(deployment, observed, serving, now)
    if size.replicas > 1 and serving is not None and is_stateful(serving, observed.body):
        return replace(size, replicas=1) if splits_sequences(deployment.spec) else size
    return size


def _size_of(deployment: ModelDeployment, observed: Observed, serving: KnownRevision | None, now: datetime) -> Size:
    try:
        limits, problem = limits_of(deployment, now), None
    except InvalidSpec as error:
        limits, problem = None, error
    if deployment.spec.suspend:
        return Size(0, limits, problem)
    if not deployment.spec.scaled_by_us:
        kept = kept_replicas(deployment, observed.body)
        return Size(deployment.spec.declared_replicas if kept is None else kept, limits, problem)
    running = serving.deployment if serving is not None else None
    wanted = observed.scaling.replicas if observed.scaling is not None else current_replicas(observed, running)
    if limits is None:
        return Size(wanted, limits, problem)
    return Size(max(limits.lowest, min(limits.highest, wanted)), limits, problem)


def limits_in_force(autoscaling: Autoscaling, now: datetime) -> Limits:
    """Return the limits in force; where schedules overlap, the later in the list wins.

    Raises InvalidSpec for a time zone that does not exist.
    """
    lowest = autoscaling.lowest
    highest = autoscaling.max_replicas if autoscaling.max_replicas is not None else REPLICAS_MAX
    for index, schedule in enumerate(autoscaling.schedules):
        if not _in_force(schedule, _zone(schedule, index), now):
            continue
        lowest = schedule.min_replicas if schedule.min_replicas is not None else lowest
        highest = schedule.max_replicas if schedule.max_replicas is not None else highest
    return Limits(min(lowest, highest), highest)


def _zone(schedule: Schedule, index: int) -> ZoneInfo:
    try:
        return ZoneInfo(schedule.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidSpec(
            f"spec.autoscaling.schedules[{index}].timeZone: '{schedule.time_zone}' is not a time zone: "
            "use an IANA name such as Europe/Berlin or UTC"
        ) from error


def _in_force(schedule: Schedule, zone: ZoneInfo, now: datetime) -> bool:
    return any(_began(start, zone, now) and not _ended(end, zone, now) for start, end in _windows(schedule, zone, now))


def _windows(schedule: Schedule, zone: ZoneInfo, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield the windows that start today and yesterday, in local time."""
    start, end = time.fromisoformat(schedule.start), time.fromisoformat(schedule.end)
    today = now.astimezone(zone).date()
    for day in (today, today - timedelta(days=1)):
        if not schedule.days or list(Day)[day.weekday()] in schedule.days:
            until = day if end > start else day + timedelta(days=1)
            yield datetime.combine(day, start), datetime.combine(until, end)


def _began(start: datetime, zone: ZoneInfo, now: datetime) -> bool:
    """Return whether local time has passed the start; if it occurs twice, the first time counts."""
    return _wall(now, zone) >= start or now >= start.replace(tzinfo=zone, fold=0)


def _ended(end: datetime, zone: ZoneInfo, now: datetime) -> bool:
    """Return whether local time has passed the end; if it occurs twice, the second time counts."""
    return _wall(now, zone) >= end and now >= end.replace(tzinfo=zone, fold=1)


def _wall(now: datetime, zone: ZoneInfo) -> datetime:
    return now.astimezone(zone).replace(tzinfo=None, fold=0)
