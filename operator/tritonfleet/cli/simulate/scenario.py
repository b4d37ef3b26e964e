"""What is simulated around the traffic: the manifest, the servers, the cluster, and what goes wrong.

`read_manifest()` checks the ModelDeployment of `-f` as the cluster would. `fleet()` derives the SLO, a model of the
servers and the limits from it, and assumes what it does not say. `parse_fault()` reads `--faults`. `command.py` calls
all three.
"""

import re
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import inf
from typing import Any, Final

from tritonfleet.api import names
from tritonfleet.api.autoscaling import Autoscaling, ScalingMode
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.cli import arguments
from tritonfleet.cli.arguments import per_second, spoken
from tritonfleet.cli.terminal import UsageError, read_bytes, read_manifests
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.autoscale import BatchServer, Policy
from tritonfleet.plan.objects import Learned, shed_load
from tritonfleet.plan.scaling import autoscaling_policy, has_slo
from tritonfleet.sim import (
    Blackout,
    CounterReset,
    Fault,
    ForeignWrite,
    NodesFull,
    Plant,
    PodLoss,
    PrometheusDown,
    ServerModel,
    SilentPods,
    Slo,
    Slower,
    SlowStart,
    Spread,
    Unscraped,
)
from tritonfleet.triton.config import model_config
from tritonfleet.triton.schema import ModelConfig
from tritonfleet.triton.validation import problems, refuse_problems

ALPHA_SHARE, LARGEST_BATCH_SHARE = 0.08, 0.4
"""Of the latency target: what a batch costs by itself, and what the largest batch takes, when nothing is known."""
MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
"""When traces begin, for schedules: at midnight, UTC, as a week begins."""

_FORM: Final = re.compile(r"(?P<name>[a-z-]+)(:(?P<value>[^@]+))?@(?P<start>[^+]+)(\+(?P<length>.+))?")


def read_manifest(path: str) -> ModelDeployment:
    """Return the one ModelDeployment of a YAML or JSON file; raises UsageError naming file, line or field."""
    shown = "standard input" if path == "-" else path
    documents = read_manifests(read_bytes(path), shown)
    found = [body for body in documents if isinstance(body, dict) and body.get("kind") == names.KIND]
    if len(found) != 1:
        raise UsageError(f"{shown}: must hold one {names.KIND}, has {len(found) or 'none'}")
    body = found[0]
    if body.get("apiVersion") != names.API_VERSION:
        raise UsageError(f"{shown}: apiVersion must be {names.API_VERSION}, not '{body.get('apiVersion')}'")
    metadata = body.get("metadata")
    if isinstance(metadata, dict):
        body = {**body, "metadata": {"namespace": "default", **metadata}}
    try:
        deployment = ModelDeployment.parse(body)
    except InvalidSpec as problem:
        raise UsageError(f"{shown}: {problem}") from problem
    known = deployment.spec.model_dump(by_alias=True, exclude_unset=True)
    unknown = next(_unknown(body["spec"], known, "spec"), None)
    if unknown is not None:
        raise UsageError(f"{shown}: {unknown}: there is no such field: kubectl explain mdep.spec lists them")
    return deployment


def _unknown(given: Any, known: Any, path: str) -> Iterator[str]:
    """Yield the path of every field that was given and not understood."""
    if isinstance(given, dict) and isinstance(known, dict):
        for name, value in given.items():
            if name not in known:
                yield f"{path}.{name}"
            else:
                yield from _unknown(value, known[name], f"{path}.{name}")
    elif isinstance(given, list) and isinstance(known, list | tuple):
        for index, (value, understood) in enumerate(zip(given, known, strict=True)):
            yield from _unknown(value, understood, f"{path}[{index}]")


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything that the manifest and the options say of the simulated cluster."""

    name: str
    policy: Policy
    slo: Slo
    server: ServerModel
    plant: Plant
    gpus_per_replica: int
    service_given: bool
    autoscaling: Autoscaling
    """As written, for the schedules in it."""

    @property
    def capacity(self) -> float:
        """Requests per second that one replica carries within the SLO; 0 if it cannot carry any."""
        return self._modelled().rate_at(self.slo.latency_seconds)

    @property
    def feasible(self) -> bool:
        """Whether a request that meets nobody keeps the target."""
        return self.idle_seconds <= self.slo.latency_seconds

    @property
    def idle_seconds(self) -> float:
        """Latency of a request that meets nobody."""
        return self._modelled().idle_seconds

    @property
    def throughput(self) -> float:
        """Requests per second that one replica answers with every batch full, however late."""
        return self._modelled().throughput

    def _modelled(self) -> BatchServer:
        return BatchServer.of(self.policy, self.server.alpha_seconds, self.server.beta_seconds)


def fleet(deployment: ModelDeployment, service: tuple[float, float] | None, ready_seconds: float) -> Fleet:
    """Return the fleet of a manifest; `service` is alpha and beta in seconds, if they are known.

    Raises InvalidSpec when there is no latency to hold, no autoscaling, or a configuration that Triton would refuse.
    """
    config = model_config(deployment.spec, deployment.model_name)
    gpus = deployment.spec.server.gpu.count
    refuse_problems(problems(config, model_name=deployment.model_name, gpus=gpus))
    autoscaling = _autoscaling(deployment)
    policy = _policy(deployment, autoscaling)
    target = policy.latency_target_seconds
    if target is None:
        raise InvalidSpec("spec.slo.latency: must be set: attainment is the share of requests within it")
    alpha, beta = service or _assumed_service(target, policy.max_batch_size)
    shed_load(config, deployment.spec, Learned(alpha, beta))
    at_times = autoscaling.schedules
    plant = Plant(
        ready=Spread.around(ready_seconds),
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
        raise InvalidSpec("spec.autoscaling: must be of mode SLO with a maxReplicas: else there is nothing to decide")
    if spec.autoscaling.max_replicas is None or spec.autoscaling.max_replicas < spec.autoscaling.lowest:
        raise InvalidSpec(
            f"spec.autoscaling.maxReplicas: must be set, and not below minReplicas ({spec.autoscaling.lowest}),"
            f" got {spec.autoscaling.max_replicas}"
        )
    return spec.autoscaling


def _policy(deployment: ModelDeployment, autoscaling: Autoscaling) -> Policy:
    """Return what is asked of the autoscaler outside of schedules."""
    try:
        policy = autoscaling_policy(deployment, MONDAY)
    except InvalidSpec as problem:
        # A duration that is none is named without its field, for the API server refuses it long before.
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
    """Return what the fleet takes for granted, in sentences."""
    server, policy = chosen.server, chosen.policy
    origin = "as given" if chosen.service_given else "assumed from the SLO; --service takes your model's"
    batch = (
        f"T(b) = {spoken(server.alpha_seconds)} + {spoken(server.beta_seconds)} * b, b up to {server.max_batch_size}"
    )
    slo = f"p{policy.percentile:g} <= {spoken(chosen.slo.latency_seconds)}"
    rate, ready = per_second(chosen.capacity), chosen.plant.ready
    said = [
        f"a batch of b requests takes {batch} ({origin}); no scaler is told",
        f"one replica then carries {rate} requests/s within {slo}, {per_second(chosen.throughput)} at most",
        f"a pod takes {spoken(ready.at(0.5))} to be ready, one in ten {spoken(ready.at(0.9))} or longer",
    ]
    if chosen.autoscaling.schedules:
        said.append("for the schedules the trace begins on a Monday, 00:00 UTC; the other scalers have none")
    return said


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of fault: how it is written and made."""

    example: str
    meaning: str
    make: Callable[[float, float, float], Fault]
    """From start, end (both in seconds) and value."""
    value: float | None = None
    """The value when none is given; None where there is nothing to give."""
    lasts: bool = True
    """Whether it has a length; without one it lasts to the end."""


_KINDS: Final = {
    "blackout": _Kind("blackout@12h+20m", "no metrics at all", lambda start, end, _: Blackout(start, end)),
    "prometheus-down": _Kind(
        "prometheus-down@12h+20m",
        "pods answer, Prometheus does not",
        lambda start, end, _: PrometheusDown(start, end),
    ),
    "unscraped": _Kind("unscraped:0.5@12h+20m", "half the pods cannot be read", Unscraped, 0.5),
    "silent-pods": _Kind(
        "silent-pods:1@12h+1h",
        "one pod answers but counts nothing",
        lambda start, end, value: SilentPods(start, end, int(value)),
        1,
    ),
    "counter-reset": _Kind(
        "counter-reset@12h", "all counters start anew", lambda start, *_: CounterReset(start), lasts=False
    ),
    "slower": _Kind("slower:1.6@12h+6h", "batches take 1.6 times as long", Slower, 1.6),
    "slow-start": _Kind("slow-start:3@12h+1h", "pods take 3 times as long to be ready", SlowStart, 3),
    "nodes-full": _Kind(
        "nodes-full:4@12h+1h",
        "there is room for 4 pods only",
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
        "somebody sets replicas to 1",
        lambda start, _, value: ForeignWrite(start, int(value)),
        1,
        lasts=False,
    ),
}


def fault_listing() -> Iterable[tuple[str, str]]:
    """Return an example and its meaning for every kind."""
    return ((kind.example, kind.meaning) for kind in _KINDS.values())


def parse_fault(text: str, duration_seconds: float) -> Fault:
    """Return the fault that `NAME[:VALUE]@START[+LENGTH]` asks for; raises UsageError for anything else."""
    match = _FORM.fullmatch(text)
    kind = _KINDS.get(match["name"]) if match else None
    if match is None or kind is None:
        known = ", ".join(_KINDS)
        raise UsageError(f"--faults: '{text}' must be NAME[:VALUE]@START[+LENGTH] with one of the names {known}")
    if (match["length"] and not kind.lasts) or (match["value"] and kind.value is None):
        raise UsageError(f"--faults: '{text}' says more than this fault can be told: write it like {kind.example}")
    try:
        start = 0.0 if match["start"] == "0" else arguments.seconds(match["start"])
        end = start + arguments.seconds(match["length"]) if match["length"] else inf
        value = _number(match["value"]) if match["value"] else kind.value or 0.0
    except ArgumentTypeError as error:
        raise UsageError(f"--faults: '{text}': {error}") from error
    if start >= duration_seconds:
        raise UsageError(
            f"--faults: '{text}' starts after the trace, which ends at {arguments.spoken(duration_seconds)}"
        )
    return kind.make(start, end, value)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < inf:
        raise ArgumentTypeError(f"the value must be a number above 0, not '{text}'")
    return number
