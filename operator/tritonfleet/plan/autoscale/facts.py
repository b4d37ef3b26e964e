"""What one decision rests on, and what it comes to."""

from dataclasses import dataclass

from tritonfleet.plan.autoscale.capacity import Capacity
from tritonfleet.plan.autoscale.demand import Demand
from tritonfleet.plan.autoscale.memory import Memory
from tritonfleet.plan.autoscale.observation import Observation
from tritonfleet.plan.autoscale.policy import Policy
from tritonfleet.plan.autoscale.signals import Reading
from tritonfleet.plan.autoscale.verdict import ScaleReason


@dataclass(frozen=True, slots=True)
class Facts:
    """What one decision rests on."""

    policy: Policy
    observation: Observation
    memory: Memory
    """Of this tick already, but for the hold."""
    reading: Reading
    capacity: Capacity | None
    demand: Demand
    late: int
    """Pods that should have been ready long ago."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A number of replicas and why."""

    replicas: int
    wanted: int
    reason: ScaleReason
