"""A fleet that can be played tick by tick: pods, counters and everything that may be wrong with them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tritonfleet.plan.autoscale import Counters, Memory, Observation, PodSample, PodState, Policy, Verdict, decide

START_SECONDS = 1_700_000_000.0
TICK_SECONDS = 5.0
ALPHA, BETA = 0.060, 0.015
Breaker = Callable[[int, PodSample], PodSample | None]
POLICY = Policy(latency_target_seconds=0.750, min_replicas=1, max_replicas=40, max_batch_size=16)


@dataclass
class Pod:
    """One Triton server that answers at once what it gets, in batches as large as its load makes them."""

    state: PodState
    counters: Counters = field(default_factory=lambda: Counters(0, 0, 0, 0, 0, 0, 0, 0))
    sample: PodSample | None = None

    def serve(self, requests: float, seconds: float) -> None:
        rate = requests / seconds
        batch = min(16.0, max(1.0, rate * ALPHA / max(0.06, 1 - rate * BETA)))
        executions = requests / batch
        compute_us = requests * (ALPHA + BETA * batch) * 1e6
        queue_us = compute_us / 2
        seen = self.counters
        self.counters = Counters(
            seen.success + requests,
            seen.failure,
            seen.inferences + requests,
            seen.executions + executions,
            seen.request_us + compute_us + queue_us,
            seen.queue_us + queue_us,
            seen.compute_us + compute_us,
            0.0,
        )


class Fleet:
    """Pods, the autoscaler and its memory. `tick` lets five seconds go by and decides."""

    def __init__(self, replicas: int, policy: Policy = POLICY) -> None:
        self.policy = policy
        self.now = START_SECONDS
        self.clock_error = 0.0
        self.memory = Memory()
        self.made = 0
        self.pods: list[Pod] = []
        self.follow = True
        self.resize(replicas)
        self.replicas = replicas
        self.verdicts: list[Verdict] = []
        self.decide = decide

    def resize(self, replicas: int) -> None:
        while len(self.pods) < replicas:
            self.made += 1
            born = self.now - 60
            self.pods.append(Pod(PodState(f"pod-{self.made}", "one", born, self.now)))
        del self.pods[replicas:]

    def tick(self, rate: float, *, broken: Breaker | None = None, **changes: Any) -> Verdict:
        self.now += TICK_SECONDS
        for number, pod in enumerate(self.pods):
            pod.serve(rate / len(self.pods) * TICK_SECONDS, TICK_SECONDS)
            state = pod.state
            at = self.now + self.clock_error - 0.2
            fresh = PodSample(state.uid, state.created_seconds, state.revision, at, pod.counters)
            answer = fresh if broken is None else broken(number, fresh)
            pod.sample = answer if answer is not None else pod.sample
        verdict = self.decide(self.policy, self.memory, self.observe(**changes), self.now + self.clock_error)
        self.memory = verdict.memory
        self.verdicts.append(verdict)
        if self.follow:
            self.replicas = verdict.replicas
            self.resize(verdict.replicas)
        return verdict

    def observe(self, **changes: Any) -> Observation:
        samples = tuple(pod.sample for pod in self.pods if pod.sample is not None)
        seen = Observation(self.replicas, tuple(pod.state for pod in self.pods), samples, "one")
        return replace(seen, **changes)

    def play(self, rate: float, seconds: float, **options: Any) -> list[Verdict]:
        return [self.tick(rate, **options) for _ in range(int(seconds / TICK_SECONDS))]


@pytest.fixture
def fleet() -> Fleet:
    """Return four pods that have served 120 requests per second for a quarter of an hour."""
    fleet = Fleet(4)
    fleet.play(120.0, 900.0)
    return fleet


@pytest.fixture(scope="session")
def new_fleet() -> Callable[..., Fleet]:
    """Return what makes a fleet of so many pods that has served nothing yet."""

    def make(replicas: int, **limits: Any) -> Fleet:
        return Fleet(replicas, replace(POLICY, **limits))

    return make
