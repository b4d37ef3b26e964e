"""One ModelDeployment with an SLO, between two ticks."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from tritonfleet.adapters.pods import Target, target_of
from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.errors import InvalidSpec
from tritonfleet.plan import scaling
from tritonfleet.plan.autoscale import Memory, Observation, Policy
from tritonfleet.plan.world import Observed
from tritonfleet.runtime.responses import Responses


@dataclass(slots=True)
class Subject:
    """What is derived from its objects, anew only when they change, and what the autoscaler remembers of it."""

    uid: str
    deployment: ModelDeployment
    policy: Policy
    observation: Observation
    """Without samples, latency and history."""
    targets: tuple[Target, ...]
    waits: bool
    """Whether pods wait for a node: then the count of free GPUs changes though no object of ours does."""
    memory: Memory
    wants_past: bool
    """Whether it has no memory of its own yet, so that the rates of past days are news to it."""
    responses: Responses = field(default_factory=Responses)

    def policy_at(self, now: datetime) -> Policy:
        """Return the policy with the limits of this moment, the only part that time alone changes."""
        allowed = scaling.limits_of(self.deployment, now)
        if (allowed.lowest, allowed.highest) == (self.policy.min_replicas, self.policy.max_replicas):
            return self.policy
        return replace(self.policy, min_replicas=allowed.lowest, max_replicas=allowed.highest)


def subject_of(observed: Observed, known: Subject | None, now: datetime) -> Subject | None:
    """Derive it, with the memory it had or else the one in its status; None if it has no SLO.

    Raises InvalidSpec if it cannot be read and never could; later on what it asked for before stays in force.
    """
    uid = observed.body["metadata"]["uid"]
    same = known if known is not None and known.uid == uid else None
    try:
        deployment = ModelDeployment.parse(observed.body)
        if not scaling.has_slo(deployment):
            return None
        policy = scaling.autoscaling_policy(deployment, now)
    except InvalidSpec:
        if same is None:
            raise
        deployment, policy = same.deployment, same.policy
    document = scaling.remembered(observed.body)
    fresh = Subject(
        uid=uid,
        deployment=deployment,
        policy=policy,
        # The pods are always read again: with outdated ones the autoscaler would count half a fleet.
        observation=scaling.observation(observed),
        targets=tuple(target for pod in observed.pods if (target := target_of(pod, deployment.model_name)) is not None),
        waits=observed.gpus is not None,
        memory=same.memory if same is not None else Memory.restore(document, now.timestamp()),
        wants_past=same.wants_past if same is not None else not document,
    )
    if same is not None:
        fresh.responses = same.responses
    return fresh
