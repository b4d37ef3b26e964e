"""Tritonfleet's own autoscaler in the simulator: the same decision code as in the cluster."""

import json
from typing import Any

from tritonfleet.plan.autoscale import Memory, Observation, PodState, Policy, Verdict, decide
from tritonfleet.sim.scaler import Metrics

KEEPSAKE_SECONDS = 300.0
"""The status is written when replicas change, and at least so often for the sake of the memory in it."""


class Tritonfleet:
    """Decides every 5 s from direct scrapes, and keeps its memory between decisions."""

    name = "tritonfleet"
    interval_seconds = 5.0

    def __init__(self, policy: Policy, restart_every_seconds: float | None = None, *, killed: bool = False) -> None:
        """Restart it now and then: in good order, or, if `killed`, without a last word."""
        self.policy = policy
        self.verdict: Verdict | None = None
        """The last decision."""
        self._memory = Memory()
        self._restart_every_seconds = restart_every_seconds
        self._killed = killed
        self._started_seconds = 0.0
        self._written: dict[str, Any] = {}
        self._written_seconds = 0.0

    def desired(self, now: float, replicas: int, pods: tuple[PodState, ...], metrics: Metrics) -> int:
        """Return what the autoscaler decides, after a restart if one is due."""
        if self._restart_every_seconds is not None and now - self._started_seconds >= self._restart_every_seconds:
            # The way through JSON is the one through the status, which is as old as it would be there.
            kept = self._written if self._killed else self._memory.document()
            self._memory = Memory.restore(json.loads(json.dumps(kept)), now)
            self._started_seconds = now
        serving = pods[0].revision if pods else None
        observation = Observation(replicas, pods, metrics.samples(), serving)
        self.verdict = decide(self.policy, self._memory, observation, now)
        self._memory = self.verdict.memory
        if self.verdict.replicas != replicas or now - self._written_seconds >= KEEPSAKE_SECONDS or not self._written:
            self._written, self._written_seconds = self._memory.document(), now
        return self.verdict.replicas
