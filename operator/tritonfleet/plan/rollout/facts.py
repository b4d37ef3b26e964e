"""What the machine decides from, gathered once for each decision."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tritonfleet.api.rollout import Rollout
from tritonfleet.api.slo import Slo
from tritonfleet.plan.pods import Finding
from tritonfleet.plan.rollout.analysis import Evidence
from tritonfleet.plan.rollout.requests import Request
from tritonfleet.plan.world import GpuPool


@dataclass(frozen=True, slots=True)
class Track:
    """One revision's pods, counted now."""

    number: int = 0
    """Of the revision, from 1."""
    existing: int = 0
    """Pods that hold resources, ending ones included: a GPU is taken until its pod is really gone."""
    ready: int = 0
    """Ready pods that stay, by a count that is not out of date."""
    asked: int = 0
    """Replicas of its Deployment."""
    finding: Finding | None = None
    """What keeps its pods from being ready, if anything is known."""
    unsteady: str = ""
    """What is wrong with pods that were ready once: restarts, out of memory, unready for a minute; empty if nothing."""
    changed: str = ""
    """In which way its image or model is not the one that it was first seen with; empty if it is, or unknown."""
    ready_seconds: float | None = None
    """From a pod's creation until it was ready, measured on those that are; None while none is."""
    placed: int = 0
    """Pods that stay and have a node, whether they are ready or not."""

    @property
    def lacks_room(self) -> bool:
        """Whether the scheduler has no place for one of its pods."""
        return self.finding is not None and self.finding.lacks_room


@dataclass(frozen=True, slots=True)
class Split:
    """The traffic as it is seen to be divided."""

    weight: int | None
    """Percent that the canary gets; None when it cannot be told."""
    settled: bool
    """Whether what was asked for last is in force: accepted, references resolved, generation seen."""
    problem: str = ""
    """What the gateway says against it; empty if nothing."""
    foreign: bool = False
    """Whether somebody else has changed it."""


@dataclass(frozen=True, slots=True)
class Facts:
    """One moment of one ModelDeployment."""

    target: str
    """The revision that the spec asks for, `rollback.toRevision` applied; empty while it cannot be rendered."""
    replicas: int
    """Pods that the spec or the autoscaler wants for all traffic now."""
    policy: Rollout
    tracks: Mapping[str, Track] = field(default_factory=dict)
    """By revision hash."""
    by_gateway: bool = False
    """Whether an HTTPRoute splits the traffic; else the Service does, by the ratio of pods."""
    split: Split = Split(None, settled=True)
    headroom: GpuPool | None = None
    """Free GPUs on the nodes that the canary's pods may run on; None if it needs none or nobody counted."""
    gpus_per_pod: int = 0
    evidence: Evidence | None = None
    requests: tuple[Request, ...] = ()
    """All that the object holds, answered ones included, in the order in which they are carried out."""
    slo: Slo | None = None
    suspended: bool = False
    older: bool = False
    """Whether `target` comes from `spec.rollback.toRevision`."""
