"""Between a ModelDeployment and the law of scaling: what it is asked, what it is shown, and when to listen to it."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from tritonfleet.api.modeldeployment import ModelDeployment
from tritonfleet.plan.autoscale.observation import History, LatencyReading, Observation, PodSample
from tritonfleet.plan.autoscale.policy import Policy
from tritonfleet.plan.autoscale.verdict import Verdict
from tritonfleet.plan.world import Manifest, Observed


def has_slo(deployment: ModelDeployment) -> bool:
    """Tell whether verdicts are wanted: an SLO is set and pods run, whoever owns their number."""
    raise NotImplementedError


def policy_of(deployment: ModelDeployment, now: datetime) -> Policy:
    """Return what is asked of the law at this moment, schedules applied.

    Where replicas are not the law's (no `autoscaling`, External), both limits are `replicas`: only attainment counts.
    Raises InvalidSpec for a time zone that does not exist. Only for ModelDeployments with an SLO (`has_slo`).
    """
    raise NotImplementedError


def observation(
    observed: Observed,
    samples: Iterable[PodSample] = (),
    latency: LatencyReading | None = None,
    history: History | None = None,
) -> Observation:
    """Return what the law is shown. All but the last three arguments changes only with the objects in the store."""
    raise NotImplementedError


def remembered(body: Manifest) -> dict[str, Any]:
    """Return the law's memory as the status keeps it, for `Memory.restore`; empty if there is none."""
    raise NotImplementedError


def worth_a_look(verdict: Verdict, observed: Observed, now: datetime) -> bool:
    """Tell whether a reconcile with this verdict would write anything: other replicas, another reason, or numbers that
    have moved noticeably since they were last written, a minute ago or longer."""
    raise NotImplementedError
