"""What is simulated around the traffic: the SLO, the servers and the cluster, as the manifest describes them."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from tritonfleet.api.autoscaling import Autoscaling, ScalingMode
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.cli.amounts import per_second, spoken
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan.autoscale import BatchServer, Policy
from tritonfleet.plan.objects import Learned, shed_late
from tritonfleet.plan.scaling import autoscaling_policy, has_slo
from tritonfleet.sim import Plant, ServerModel, Slo, Spread
from tritonfleet.triton.config import model_config
from tritonfleet.triton.schema import ModelConfig
from tritonfleet.triton.validation import problems, refuse_problems

ALPHA_SHARE, LARGEST_BATCH_SHARE = 0.08, 0.4
"""Of the latency target: what a batch costs by itself, and what the largest batch takes, when nothing is known."""
MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
"""When traces begin, for schedules: at midnight, UTC, as a week begins."""


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
    shed_late(config, deployment.spec, Learned(alpha, beta))
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
