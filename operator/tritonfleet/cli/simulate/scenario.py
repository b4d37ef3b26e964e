"""What is simulated around the traffic: the manifest, the servers, the cluster, and faults.

`fleet()` derives the SLO, a model of the servers and the limits from a manifest, with defaults for what it does not
specify. `parse_fault()` reads `--faults`. `command.py` calls both.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import inf
from typing import Final

from tritonfleet.api.autoscaling import Autoscaling, ScalingMode
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.cli import arguments
from tritonfleet.cli.arguments import format_duration, per_second
from tritonfleet.cli.terminal import UsageError
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.autoscale import BatchServer, Policy
from tritonfleet.plan.objects import Learned, shed_load
from tritonfleet.plan.scaling import autoscaling_policy, has_slo
from tritonfleet.sim import (
    Blackout,
    CounterReset,
    Distribution,
    Fault,
    ForeignWrite,
    NodesFull,
    Plant,
    PodLoss,
    PrometheusDown,
    Routing,
    ServerModel,
    SilentPods,
    Slo,
    Slower,
    SlowStart,
    Unscraped,
)
from tritonfleet.triton import schema
from tritonfleet.triton.config import model_config
from tritonfleet.triton.schema import ModelConfig
from tritonfleet.triton.validation import problems, refuse_problems

ALPHA_SHARE, LARGEST_BATCH_SHARE = 0.08, 0.4
"""Default shares of the latency target: the fixed time of a batch, and the time of the largest batch."""
MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
"""When traces begin, for schedules: on a Monday at midnight UTC."""

_FORM: Final = re.compile(r"(?P<name>[a-z-]+)(:(?P<value>[^@]+))?@(?P<start>[^+]+)(\+(?P<length>.+))?")


@dataclass(frozen=True, slots=True)
class Fleet:
    """The simulated cluster, from the manifest and the options."""

    name: str
    policy: Policy
    slo: Slo
    server: ServerModel
    plant: Plant
    gpus_per_replica: int
    service_given: bool
    autoscaling: Autoscaling
    """From the spec, for its schedules."""

    @property
    def capacity(self) -> float:
        """Requests per second that one replica can serve within the SLO; 0 if none."""
        return self._modelled().rate_at(self.slo.latency_seconds)

    @property
    def feasible(self) -> bool:
        """Whether an unqueued request meets the target."""
        return self.idle_seconds <= self.slo.latency_seconds

    @property
    def idle_seconds(self) -> float:
        """Latency of an unqueued request."""
        return self._modelled().idle_seconds

    @property
    def throughput(self) -> float:
        """Requests per second that one replica answers with every batch full, regardless of latency."""
        return self._modelled().throughput

    def _modelled(self) -> BatchServer:
        return BatchServer.of(self.policy, self.server.alpha_seconds, self.server.beta_seconds)


def fleet(deployment: ModelDeployment, service: tuple[float, float] | None, ready_seconds: float) -> Fleet:
    """Return the fleet of a manifest; `service` is alpha and beta in seconds, if they are known.

    Raises InvalidSpec without a latency objective or autoscaling, or for a configuration that Triton would reject.
    """
    config = schema.effective(schema.empty(), model_config(deployment.spec, deployment.model_name))
    gpus = deployment.spec.server.gpu.count
    refuse_problems(problems(config, model_name=deployment.model_name, gpus=gpus, partial=True))
    autoscaling = _autoscaling(deployment)
    policy = _policy(deployment, autoscaling)
    target = policy.latency_target_seconds
    if target is None:
        raise InvalidSpec("spec.slo.latency: must be set: attainment is the share of requests within it")
    alpha, beta = service or _assumed_service(target, policy.max_batch_size)
    shed_load(config, deployment.spec, Learned(alpha, beta))
    at_times = autoscaling.schedules
    plant = Plant(
        routing=Routing.LEAST_OUTSTANDING if policy.pooled else Routing.RANDOM,
        ready=Distribution.around(ready_seconds),
        min_replicas=min([policy.min_replicas, *(each.min_replicas for each in at_times if each.min_replicas)]),
        max_replicas=max([policy.max_replicas, *(each.max_replicas for each in at_times if each.max_replicas)]),
        gpus_per_replica=float(gpus or 1),
    )
    slo, server = Slo(target, policy.percentile), _server(config, policy, alpha, beta)
    return Fleet(deployment.metadata.name, policy, slo, server, plant, gpus, service is not None, autoscaling)


def _autoscaling(deployment: ModelDeployment) -> Autoscaling:
    spec = deployment.spec
    if not has_slo(deployment):
        raise InvalidSpec("spec.slo.latency: must be set, such as {percentile: 99, target: 50ms}, and suspended false")
    if spec.autoscaling is None or spec.autoscaling.mode is not ScalingMode.SLO:
        raise InvalidSpec("spec.autoscaling: must be set, with mode SLO and maxReplicas")
    if spec.autoscaling.max_replicas is None or spec.autoscaling.max_replicas < spec.autoscaling.lowest:
        raise InvalidSpec(
            f"spec.autoscaling.maxReplicas: must be set, and not below minReplicas ({spec.autoscaling.lowest}),"
            f" got {spec.autoscaling.max_replicas}"
        )
    return spec.autoscaling


def _policy(deployment: ModelDeployment, autoscaling: Autoscaling) -> Policy:
    """Return the autoscaler's policy outside of schedules."""
    try:
        policy = autoscaling_policy(deployment, MONDAY)
    except InvalidSpec as problem:
        # Invalid durations are reported without their field; the API server rejects them anyway.
        raise InvalidSpec(f"spec.slo, spec.autoscaling or spec.batching: {problem}") from problem
    return replace(
        policy, min_replicas=autoscaling.lowest, max_replicas=autoscaling.max_replicas or policy.max_replicas
    )


def _assumed_service(target_seconds: float, max_batch_size: int) -> tuple[float, float]:
    alpha = ALPHA_SHARE * target_seconds
    return alpha, (LARGEST_BATCH_SHARE * target_seconds - alpha) / max(1, max_batch_size)


def _server(config: ModelConfig, policy: Policy, alpha: float, beta: float) -> ServerModel:
    dynamic = config.dynamic_batching
    queue = dynamic.default_queue_policy
    rejects = queue.timeout_action == queue.TimeoutAction.Value("REJECT")
    return ServerModel(
        alpha_seconds=alpha,
        beta_seconds=beta,
        max_batch_size=max(1, policy.max_batch_size),
        instances=max(1, policy.instances),
        max_queue_delay_seconds=policy.max_queue_delay_seconds,
        preferred_batch_sizes=tuple(dynamic.preferred_batch_size),
        max_queue_size=queue.max_queue_size,
        queue_timeout_seconds=queue.default_timeout_microseconds / 1e6 if rejects else 0.0,
    )


def assumptions(chosen: Fleet) -> list[str]:
    """Return the assumptions about the fleet, in sentences."""
    server, policy = chosen.server, chosen.policy
    origin = "--service" if chosen.service_given else "assumed from the SLO; --service sets your model's"
    slo = f"p{policy.percentile:g} <= {format_duration(chosen.slo.latency_seconds)}"
    rate, ready = per_second(chosen.capacity), chosen.plant.ready
    slow = format_duration(ready.at(0.9))
    alpha, beta = format_duration(server.alpha_seconds), format_duration(server.beta_seconds)
    sentences = [
        f"a batch of b requests takes {alpha} + {beta} * b, b up to {server.max_batch_size} ({origin})",
        f"one replica can serve {rate} requests/s within {slo}, {per_second(chosen.throughput)} at most",
        f"a pod takes {format_duration(ready.at(0.5))} to become ready, the slowest tenth {slow} or more",
    ]
    if chosen.autoscaling.schedules:
        sentences.append("the trace begins on a Monday, 00:00 UTC; only Tritonfleet applies the schedules")
    return sentences


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of fault: its syntax and how to build it."""

    example: str
    meaning: str
    make: Callable[[float, float, float], Fault]
    """From start, end (both in seconds) and value."""
    value: float | None = None
    """The default value; None if it takes none."""
    lasts: bool = True
    """Whether it takes a length; without one it lasts to the end."""


_KINDS: Final = {
    "blackout": _Kind("blackout@12h+20m", "no metrics at all", lambda start, end, _: Blackout(start, end)),
    "prometheus-down": _Kind(
        "prometheus-down@12h+20m",
        "Prometheus is down, pods can be scraped",
        lambda start, end, _: PrometheusDown(start, end),
    ),
    "unscraped": _Kind("unscraped:0.5@12h+20m", "half the pods cannot be scraped", Unscraped, 0.5),
    "silent-pods": _Kind(
        "silent-pods:1@12h+1h",
        "one pod's counters stand still",
        lambda start, end, value: SilentPods(start, end, int(value)),
        1,
    ),
    "counter-reset": _Kind(
        "counter-reset@12h", "all counters are reset", lambda start, *_: CounterReset(start), lasts=False
    ),
    "slower": _Kind("slower:1.6@12h+6h", "batches take 1.6 times as long", Slower, 1.6),
    "slow-start": _Kind("slow-start:3@12h+1h", "pods take 3 times as long to become ready", SlowStart, 3),
    "nodes-full": _Kind(
        "nodes-full:4@12h+1h",
        "the nodes have room for only 4 pods",
        lambda start, end, value: NodesFull(start, end, int(value)),
        1,
    ),
    "pod-loss": _Kind(
        "pod-loss:2@12h",
        "two ready pods die",
        lambda start, _, value: PodLoss(start, int(value)),
        1,
        lasts=False,
    ),
    "foreign-write": _Kind(
        "foreign-write:1@12h",
        "someone else sets replicas to 1",
        lambda start, _, value: ForeignWrite(start, int(value)),
        1,
        lasts=False,
    ),
}


def fault_listing() -> Iterable[tuple[str, str]]:
    """Return an example and its meaning for each kind."""
    return ((kind.example, kind.meaning) for kind in _KINDS.values())


def parse_fault(text: str, duration_seconds: float) -> Fault:
    """Parse `NAME[:VALUE]@START[+LENGTH]`; raises UsageError for anything else."""
    match = _FORM.fullmatch(text)
    kind = _KINDS.get(match["name"]) if match else None
    if match is None or kind is None:
        known = ", ".join(_KINDS)
        raise UsageError(f"--faults: '{text}' must be NAME[:VALUE]@START[+LENGTH] with one of the names {known}")
    if (match["length"] and not kind.lasts) or (match["value"] and kind.value is None):
        raise UsageError(f"--faults: '{text}' has a value or length that it does not take; use {kind.example}")
    try:
        start = 0.0 if match["start"] == "0" else arguments.seconds(match["start"])
        end = start + arguments.seconds(match["length"]) if match["length"] else inf
        value = _number(match["value"]) if match["value"] else kind.value or 0.0
    except ValueError as error:
        raise UsageError(f"--faults: '{text}': {error}") from error
    if start >= duration_seconds:
        raise UsageError(
            f"--faults: '{text}' starts after the trace, which ends at {arguments.format_duration(duration_seconds)}"
        )
    return kind.make(start, end, value)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < inf:
        raise ValueError(f"the value must be a number above 0, not '{text}'")
    return number
