"""The search for a setting finds nearly the best of the whole grid with few trials, and goes on where it ended.

Trials are made on a server that knows nothing of the search's own model: each request is followed by itself, batches
take what no straight line says, and instances take time from each other.
"""

import math
from dataclasses import dataclass, replace

import numba
import numpy as np
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from tritonfleet.plan.autoscale import Policy
from tritonfleet.sim import (
    SearchSpace,
    Setting,
    Slo,
    Trial,
    grid,
    next_trial,
    outcome,
    replicas_for,
    verdict,
)

MOST_TRIALS = 60
SAMPLE, REFERENCE = 3000, 20_000
"""Requests of a trial, and of a trial whose outcome is taken for the truth."""


@numba.njit
def latencies(due, largest, delay, times, free, noise):
    """Follow each request: the server takes what waits when an instance is free and a batch is full or old enough."""
    count = len(due)
    found = np.empty(count)
    head, batches = 0, 0
    while head < count:
        instance = np.argmin(free)
        full = due[head + largest - 1] if head + largest - 1 < count else np.inf
        start = max(free[instance], due[head], min(full, due[head] + delay))
        size = 0
        while size < largest and head + size < count and due[head + size] <= start:
            size += 1
        finish = start + times[size] * noise[batches % len(noise)]
        batches += 1
        for index in range(head, head + size):
            found[index] = finish - due[index]
        free[instance] = finish
        head += size
    return found, batches


@dataclass(frozen=True)
class Pretend:
    """A server: alpha + beta max(b - knee, 0) + curve b^2, slower by `share` for each instance beyond the cores."""

    alpha: float
    beta: float
    knee: int
    curve: float
    cores: int
    contention: float
    sigma: float
    overhead: float

    def seconds(self, batch: float, instances: int) -> float:
        crowd = max(1.0, instances / self.cores) * (1 + self.contention * (instances - 1))
        alone = self.alpha + self.beta * max(0.0, batch - self.knee) + self.curve * batch * batch
        return alone * crowd

    def follow(self, setting: Setting, rate: float, count: int, seed: int) -> np.ndarray:
        random = np.random.default_rng(seed)
        due = np.cumsum(random.exponential(1 / rate, count))
        times = np.array([self.seconds(size, setting.instances) for size in range(setting.max_batch_size + 1)])
        noise = np.exp(self.sigma * random.standard_normal(4096) - self.sigma**2 / 2)
        free = np.zeros(setting.instances)
        found, _ = latencies(due, setting.max_batch_size, setting.queue_delay_us / 1e6, times, free, noise)
        return found[count // 20 :] + self.overhead

    def trial(self, slo: Slo, setting: Setting, rate: float, seed: int) -> Trial:
        if rate == 0:
            return self.press(setting)
        found = self.follow(setting, rate, SAMPLE, seed)
        late = int(np.count_nonzero(found > slo.latency_seconds))
        return Trial(
            setting,
            rate,
            within=late <= (1 - slo.percentile / 100) * len(found),
            requests=len(found),
            late=late,
            median_seconds=float(np.median(found)),
            percentile_seconds=float(np.percentile(found, slo.percentile)),
        )

    def press(self, setting: Setting) -> Trial:
        sizes = {1 << power for power in range(setting.max_batch_size.bit_length())}
        batches = tuple((size, 50, 50 * self.seconds(size, setting.instances)) for size in sorted(sizes))
        lone = self.seconds(1, setting.instances) + self.overhead
        return Trial(setting, 0.0, batches=batches, lone_seconds=lone, sigma=self.sigma)

    def load(self, slo: Slo, setting: Setting) -> float:
        """Return the load within the SLO, by bisection with long trials."""
        size, instances = setting.max_batch_size, setting.instances
        low, high = 0.0, 1.2 * size * instances / self.seconds(size, instances)
        for _ in range(9):
            rate = (low + high) / 2
            found = self.follow(setting, rate, REFERENCE, 12345)
            kept = np.count_nonzero(found > slo.latency_seconds) <= (1 - slo.percentile / 100) * len(found)
            low, high = (rate, high) if kept else (low, rate)
        return low


def search(server: Pretend, space: SearchSpace, trials: list[Trial] | None = None) -> list[Trial]:
    made = list(trials or ())
    while (wanted := next_trial(space, made)) is not None:
        assert len(made) < MOST_TRIALS
        made.append(server.trial(space.slo, wanted.setting, wanted.rate, len(made)))
    return made


@st.composite
def servers(draw) -> tuple[Pretend, SearchSpace]:
    alpha = draw(st.floats(0.001, 0.1))
    per_row = draw(st.floats(0.005, 0.9))
    server = Pretend(
        alpha=alpha,
        beta=per_row * alpha,
        knee=draw(st.sampled_from([0, 0, 4])),
        curve=draw(st.sampled_from([0.0, 0.0, 0.002])) * alpha,
        cores=draw(st.sampled_from([1, 2, 4])),
        contention=draw(st.sampled_from([0.0, 0.05, 0.2])),
        sigma=draw(st.sampled_from([0.02, 0.05, 0.15])),
        overhead=draw(st.sampled_from([0.0, 0.1])) * alpha,
    )
    target = draw(st.floats(2.5, 30)) * server.seconds(1, 1)
    slo = Slo(target, draw(st.sampled_from([95.0, 99.0])))
    current = Setting(1, draw(st.sampled_from([0, round(1e5 * target)])), draw(st.sampled_from([1, 4, 8])))
    if current.max_batch_size == 1:
        current = replace(current, queue_delay_us=0)
    return server, grid(slo, current, largest_batch=draw(st.sampled_from([8, 16, 32])), most_instances=4)


FAR_FROM_PREDICTED = (
    Pretend(alpha=0.0625, beta=0.03125, knee=0, curve=0.000125, cores=2, contention=0.0, sigma=0.02, overhead=0.0),
    SearchSpace(
        Slo(0.281625, 95.0),
        Setting(1, 0, 1),
        batch_sizes=(1, 2, 4, 8, 16, 32),
        queue_delays_us=(0, 2816, 5632, 14081, 28163, 56325),
        instance_counts=(1, 2, 3, 4),
    ),
)
"""Large batches carry half of what is predicted, small ones all of it."""


@settings(max_examples=6, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate))
@example(FAR_FROM_PREDICTED)
@given(servers())
def test_it_finds_nearly_the_best_of_the_grid_with_a_fifth_of_its_trials(drawn: tuple[Pretend, SearchSpace]) -> None:
    server, space = drawn
    loads = {setting: server.load(space.slo, setting) for setting in space.settings()}
    best = max(loads.values())
    if best == 0:
        return
    made = search(server, space)
    found = outcome(space, made)

    assert loads[found.best.setting] >= 0.95 * best
    # The grid needs as many trials for each setting as the search took for its best one.
    assert len({each.setting for each in made}) <= len(loads) / 5
    assert len(made) <= len(loads) * max(3, found.best.trials) / 5


@settings(max_examples=3, deadline=None, derandomize=True)
@given(servers(), st.integers(0, 12))
def test_a_search_goes_on_where_another_one_ended(drawn: tuple[Pretend, SearchSpace], kept: int) -> None:
    server, space = drawn
    whole = search(server, space)

    assert search(server, space, whole[:kept]) == whole


def test_an_instance_count_that_does_not_load_ends_the_way_to_more() -> None:
    space = grid(Slo(0.5), Setting(1, 0, 4), largest_batch=8, most_instances=4)
    server = Pretend(0.02, 0.002, 0, 0.0, 4, 0.0, 0.02, 0.0)
    made: list[Trial] = []
    while (wanted := next_trial(space, made)) is not None:
        fails = wanted.setting.instances > 2
        one = server.trial(space.slo, wanted.setting, wanted.rate, len(made))
        made.append(Trial(wanted.setting, wanted.rate, failure="out of memory") if fails else one)

    assert outcome(space, made).best.setting.instances == 2
    assert max(each.setting.instances for each in made) == 3


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 0.2), st.integers(20, 400), st.integers(0, 1000))
def test_a_sure_verdict_is_that_of_a_long_trial(share: float, size: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    blocks = [(size, int(random.binomial(size, share))) for _ in range(40)]

    found = verdict(blocks, 95.0)

    if found is not None and abs(share - 0.05) > 0.02:
        assert found == (share < 0.05)


def test_late_requests_that_come_in_runs_decide_less_than_as_many_scattered_ones() -> None:
    scattered, runs = [(100, 8)] * 10, [(100, 80), *[(100, 0)] * 9]

    assert verdict(scattered, 95.0) is False
    assert verdict(runs, 95.0) is None


def test_a_fleet_needs_fewer_replicas_with_the_better_setting() -> None:
    space = grid(Slo(0.5), Setting(1, 0, 1), largest_batch=16, most_instances=1)
    found = outcome(space, search(Pretend(0.02, 0.002, 0, 0.0, 1, 0.0, 0.02, 0.0), space))
    policy = Policy(latency_target_seconds=0.5)

    best, now = (replicas_for(1000, policy, each, found.service[each.setting]) for each in (found.best, found.current))

    assert best == math.ceil(1000 / found.best.load)
    assert now == math.ceil(1000 / found.current.load)
    assert best < now / 3
