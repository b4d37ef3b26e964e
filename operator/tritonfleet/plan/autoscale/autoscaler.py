"""How many replicas a ModelDeployment needs now: one absolute number, with the reason and the numbers behind it.

`decide()` is a pure function of the policy, the memory of the last decision and one observation; it returns a
`Verdict` and the next memory. The operator calls it every five seconds for each ModelDeployment
(`runtime/autoscaler.py`), the simulator does the same (`sim/scalers.py`), and what it returns becomes the status and
the size of the Deployment.

    N*   = ceil(demand / c), where c is what one replica carries within the SLO
    up   : at once, at most to `scale_up_factor` times the replicas, within minReplicas, maxReplicas and the nodes
    down : to the highest N* of the stabilization window, at most by `scale_down_percent` at once

N* depends on the demand and the capacity alone, never on how many replicas there are: pods that are starting count as
supply, and a rollout's extra pods cannot make it run away. A replica is removed only on fresh data, and only if the
rest keeps 0.85 of the latency target.

Example: a demand of 120 requests/s and c = 46 make N* = ceil(2.6) = 3, so that one replica becomes three at once.
When the demand falls to 80, N* is 2; the third replica stays until the window of the peak is over. It is a fall of
one replica, a ripple, so that with a window of 90 s this takes 360 s.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from tritonfleet.api.quantities import counted
from tritonfleet.plan.autoscale.arrivals import (
    ENOUGH_FRESH,
    STALE_SECONDS,
    Reading,
    forget_pods,
    ingest,
    update_noise,
)
from tritonfleet.plan.autoscale.capacity import Capacity, capacity_of, update_fits
from tritonfleet.plan.autoscale.demand import (
    Demand,
    Startup,
    demand_of,
    record_ready_times,
    startup_of,
    update_growth,
)
from tritonfleet.plan.autoscale.interface import Attainment, Observation, Policy, ScaleReason
from tritonfleet.plan.autoscale.memory import UP_ONLY_SECONDS, Memory
from tritonfleet.plan.autoscale.seasonality import learn_season, update_season
from tritonfleet.plan.autoscale.slo import adjust, attainment_of, evaluate_slo, record, trim
from tritonfleet.plan.autoscale.stabilization import (
    HOUR_SECONDS,
    Limited,
    clamp,
    highest_wanted,
    limit_step,
    record_peak,
    stabilization_window,
)

GAP_SECONDS = 30.0
"""A tick is 5 s; if the wall clock went back, or ahead by more than this, it stepped or the operator slept."""
BLIND_SECONDS = 300.0
"""After this long without any metrics, scale to the highest N* of the last hour."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One decision, with the numbers it rests on."""

    replicas: int
    """What the Deployment should ask for."""
    wanted: int
    """N*: the replicas that the demand needs, before any limit."""
    reason: ScaleReason
    explain: Callable[[], str] = field(compare=False)
    """Returns a sentence with numbers for the status; rendered only where it is shown."""
    fresh: bool
    """Whether enough pods were seen to remove replicas."""
    rate: float | None
    """Arrivals per second over the slow window; None if unknown."""
    capacity_per_replica: float | None
    """c(L) after the trim, requests per second; None before there is a fit or a hint."""
    forecast: float | None
    """Requests per second expected by the season at the horizon; None while no season has proven skill."""
    ready_seconds: float | None
    """The 75th percentile of the pods' times to ready; None before one was seen."""
    metrics_age_seconds: float | None
    """Age of the oldest sample that the decision rests on."""
    attainment: Attainment
    memory: Memory
    """The argument of the next `decide()`."""


@dataclass(frozen=True, slots=True)
class ScalingInputs:
    """Everything that the choice of a number of replicas rests on."""

    policy: Policy
    observation: Observation
    memory: Memory
    """Already of this tick; `_choose()` alone records the new peak."""
    reading: Reading
    startup: Startup
    capacity: Capacity | None
    demand: Demand


@dataclass(frozen=True, slots=True)
class Choice:
    """A number of replicas, N*, and why."""

    replicas: int
    wanted: int
    reason: ScaleReason
    window_seconds: float = 0.0
    """For how long the highest N* counts, where it is the reason."""


def decide(policy: Policy, memory: Memory, observation: Observation, now: float) -> Verdict:
    """Return how many replicas to ask for at `now`, seconds since the epoch, and what to remember."""
    memory, seconds = _advance(memory, now)
    # Observe arrivals and pods.
    signals, reading = ingest(memory.signals, observation, now, memory.clock, seconds)
    readiness = record_ready_times(memory.readiness, observation.pods)
    startup = startup_of(readiness, observation.pods, now)
    # Learn T(b) from this tick's batches, and trim c by the measured latency.
    fits = update_fits(memory.fits, reading.work, policy)
    capacity = capacity_of(policy, fits, observation.serving)
    evaluation = evaluate_slo(policy, observation.latency, reading, capacity, now, seconds)
    fits = trim(fits, policy, observation, reading, capacity, evaluation)
    # Update growth, season, noise, headroom and error budget.
    noise, growth, season = memory.noise, memory.growth, memory.season
    if observation.history is not None:
        season = learn_season(season, observation.history)
    if reading.now is not None and reading.middle is not None and seconds > 0:
        planned, usual = growth.planned(memory.headroom.quantile), growth.usual
        growth = update_growth(growth, reading.now, seconds, startup.horizon_seconds)
        if planned is not None and usual is not None:
            season = update_season(season, reading.middle, planned, usual, now)
        noise = update_noise(noise, reading.now, seconds)
    forecast = season.forecast(now, startup.horizon_seconds, growth.usual) if policy.forecast else None
    headroom = adjust(memory.headroom, evaluation, policy, growth.usual, reading.fast or 0.0)
    error_budget = record(memory.error_budget, evaluation, memory.clock)
    # Compute the demand and choose the replicas.
    demand = demand_of(policy, growth, headroom.quantile, forecast, reading, noise.dispersion)
    memory = replace(
        memory,
        signals=signals,
        noise=noise,
        readiness=readiness,
        fits=fits,
        growth=growth,
        season=season,
        headroom=headroom,
        error_budget=error_budget,
    )
    inputs = ScalingInputs(policy, observation, memory, reading, startup, capacity, demand)
    choice, memory = _choose(inputs)
    blind = choice.reason if reading.fast is None else None
    return Verdict(
        replicas=choice.replicas,
        wanted=choice.wanted,
        reason=choice.reason,
        explain=partial(_explain, choice, inputs),
        fresh=reading.enough,
        rate=reading.slow,
        capacity_per_replica=None if capacity is None else capacity.rate,
        forecast=forecast,
        ready_seconds=startup.typical_seconds,
        metrics_age_seconds=reading.age_seconds,
        attainment=attainment_of(policy, error_budget, evaluation, capacity, reading.ready, memory.clock, blind),
        memory=memory,
    )


def _advance(memory: Memory, now: float) -> tuple[Memory, float]:
    """Advance the autoscaler's own clock by as much as the wall clock, unless that stepped; also return the seconds."""
    if memory.at_seconds is None:
        return replace(memory, at_seconds=now), 0.0
    seconds = now - memory.at_seconds
    if 0 <= seconds <= GAP_SECONDS:
        return replace(memory, at_seconds=now, clock=memory.clock + seconds), seconds
    up_only = max(memory.up_only_until, memory.clock + UP_ONLY_SECONDS)
    return replace(memory, at_seconds=now, up_only_until=up_only, signals=forget_pods(memory.signals)), 0.0


def _choose(inputs: ScalingInputs) -> tuple[Choice, Memory]:
    """Choose the replicas by the first rule that applies, and record N* if it is known."""
    policy, observation, demand, memory = inputs.policy, inputs.observation, inputs.demand, inputs.memory
    # No metrics at all: never down.
    if inputs.reading.fast is None:
        return _without_metrics(inputs), memory
    rate = 0.0 if inputs.capacity is None else inputs.capacity.rate
    # Requests, but no idea of what a replica can carry.
    if rate <= 0 and max(demand.total, demand.seen) > 0:
        return _without_capacity(inputs), memory
    wanted = _replicas_for(demand.total, rate)
    peaks = record_peak(
        memory.stabilization, policy.stabilization_seconds, wanted, memory.clock, burst=demand.burst > 0
    )
    memory = replace(memory, stabilization=peaks)
    inputs = replace(inputs, memory=memory)
    limited = clamp(policy, wanted, observation.replicas, observation.schedulable)
    if limited.replicas >= observation.replicas:
        return _scale_out(inputs, wanted, limited), memory
    return _scale_in(inputs, wanted), memory


def _replicas_for(demand: float, rate: float) -> int:
    """Return how many replicas carry a demand; none for no demand, whatever one carries."""
    return math.ceil(demand / rate - 1e-9) if demand > 0 else 0


def _keep(inputs: ScalingInputs, at_least: int = 0) -> int:
    """Return the present replicas, or `at_least` so many, within the limits that always hold."""
    observation = inputs.observation
    wanted = max(observation.replicas, at_least)
    return clamp(inputs.policy, wanted, observation.replicas, observation.schedulable).replicas


def _without_metrics(inputs: ScalingInputs) -> Choice:
    """Keep the replicas; after five minutes without metrics, scale out to the highest N* of the last hour."""
    memory, reading, pods = inputs.memory, inputs.reading, inputs.observation.pods
    lately = memory.signals.seen_clock - HOUR_SECONDS
    high = 0
    if reading.blind_seconds > BLIND_SECONDS and not inputs.startup.late:
        high = highest_wanted(memory.stabilization, lately)
    if not any(pod.ready_seconds is not None for pod in pods):
        reason = ScaleReason.PODS_NOT_READY
    elif reading.silent and reading.silent == reading.ready:
        reason = ScaleReason.SERIES_MISSING
    elif reading.blind_seconds <= STALE_SECONDS and memory.clock < memory.up_only_until:
        reason = ScaleReason.RESTARTED
    else:
        reason = ScaleReason.METRICS_STALE
    return Choice(_keep(inputs, high), inputs.observation.replicas, reason)


def _without_capacity(inputs: ScalingInputs) -> Choice:
    """Add one replica at a time, while requests wait and no pod is starting."""
    reading, replicas = inputs.reading, inputs.observation.replicas
    waiting = reading.pending > inputs.policy.max_batch_size * max(1, reading.ready)
    wanted = replicas + 1 if waiting and not inputs.startup.starting and reading.ready >= replicas else replicas
    return Choice(_keep(inputs, wanted), wanted, ScaleReason.LEARNING)


def _scale_out(inputs: ScalingInputs, wanted: int, limited: Limited) -> Choice:
    """Scale out at once, unless pods are late: then more of them would not help. Steady is a scale-out by none."""
    replicas = inputs.observation.replicas
    if limited.replicas > replicas and inputs.startup.late:
        return Choice(_keep(inputs), wanted, ScaleReason.PODS_NOT_READY)
    target = limit_step(inputs.policy, replicas, limited.replicas)
    if limited.reason is ScaleReason.AT_MIN_REPLICAS and inputs.demand.total <= 0:
        return Choice(target, wanted, ScaleReason.NO_TRAFFIC)
    if limited.reason is not None:
        return Choice(target, wanted, limited.reason)
    if target == replicas:
        return Choice(target, wanted, ScaleReason.STEADY)
    return Choice(target, wanted, inputs.demand.reason)


def _scale_in(inputs: ScalingInputs, wanted: int) -> Choice:
    """Scale in to the peak of the stabilization window, if the data is good and the rest keeps 0.85 of the target."""
    memory, policy, observation = inputs.memory, inputs.policy, inputs.observation
    replicas = observation.replicas
    if (reason := _scale_in_disabled(inputs)) is not None:
        return Choice(_keep(inputs), wanted, reason)
    needed = _replicas_for(inputs.demand.seen, 0.0 if inputs.capacity is None else inputs.capacity.spare_rate)
    window = stabilization_window(memory.stabilization, policy.stabilization_seconds, memory.clock, replicas)
    peak = highest_wanted(memory.stabilization, memory.clock - window)
    limited = clamp(policy, max(peak, min(needed, replicas)), replicas, observation.schedulable)
    if limited.replicas >= replicas:
        return Choice(_keep(inputs), wanted, ScaleReason.SCALE_DOWN_STABILIZED, window)
    reason = ScaleReason.NO_TRAFFIC if inputs.demand.total <= 0 else ScaleReason.DEMAND_FELL
    return Choice(limit_step(policy, replicas, limited.replicas), wanted, reason)


def _scale_in_disabled(inputs: ScalingInputs) -> ScaleReason | None:
    """Return why no replica may be removed now, whatever the demand; None if one may."""
    memory, reading = inputs.memory, inputs.reading
    if reading.silent and not reading.enough:
        return ScaleReason.SERIES_MISSING
    if not reading.enough:
        return ScaleReason.METRICS_PARTIAL
    # When pods fail, clients that wait for answers send fewer requests to those that are left.
    if reading.ready < ENOUGH_FRESH * (reading.ready + inputs.startup.lost):
        return ScaleReason.PODS_NOT_READY
    if inputs.observation.rolling:
        return ScaleReason.ROLLING_OUT
    return ScaleReason.RESTARTED if memory.clock < memory.up_only_until else None


def _explain(choice: Choice, inputs: ScalingInputs) -> str:
    """Explain the decision in one sentence, with the numbers that it came from."""
    memory, reading, startup, before = inputs.memory, inputs.reading, inputs.startup, inputs.observation.replicas
    if choice.replicas == before:
        action = f"keeping {counted(before, 'replica')}"
    else:
        action = f"scaling {'out' if choice.replicas > before else 'in'} from {before} to {choice.replicas}"
    needs = f"{_explain_demand(inputs)} needs {counted(choice.wanted, 'replica')}"
    flat = f", {reading.flat} of them idle while others serve" if reading.flat else ""
    slow = f", {startup.late} for more than {startup.patience_seconds:.0f}s, so none are added"
    late = slow if startup.late else ""
    up_only = max(0.0, memory.up_only_until - memory.clock)
    by_reason = {
        ScaleReason.METRICS_STALE: f"no metrics for {reading.blind_seconds:.0f}s; {action}",
        ScaleReason.SERIES_MISSING: (
            f"{reading.silent} of {counted(reading.ready, 'server')} without metrics of the model; {action}"
        ),
        ScaleReason.METRICS_PARTIAL: (
            f"metrics from {reading.fresh} of {counted(reading.ready, 'ready replica')}{flat};"
            f" scaling in needs 80%; {action}"
        ),
        ScaleReason.PODS_NOT_READY: f"{counted(startup.starting, 'replica')} not ready{late}; {action}",
        ScaleReason.RESTARTED: f"operator restarted or clock changed: scale-in disabled for {up_only:.0f}s; {action}",
        ScaleReason.LEARNING: (
            f"capacity per replica not known yet, {counted(round(reading.pending), 'request')} queued; {action}"
        ),
        ScaleReason.ROLLING_OUT: f"rollout in progress: scale-in disabled; {action}; {needs}",
        ScaleReason.NOT_SCHEDULABLE: f"{needs}; the nodes have room for {inputs.observation.schedulable}",
        ScaleReason.AT_MAX_REPLICAS: f"{needs}; maxReplicas is {inputs.policy.max_replicas}",
        ScaleReason.SCALE_DOWN_STABILIZED: (
            f"{needs}; {action} (scale-in stabilization window: {choice.window_seconds:.0f}s)"
        ),
    }
    return by_reason.get(choice.reason, f"{needs}; {action}")


def _explain_demand(inputs: ScalingInputs) -> str:
    """Return the demand and what it is made of: `120 req/s (90 req/s now, 46 req/s per replica)`."""
    demand = inputs.demand
    parts = {
        "now": inputs.reading.slow,
        "burst": demand.burst or None,
        "seasonal forecast": demand.season,
        f"to drain {counted(round(inputs.reading.pending), 'queued request')}": demand.backlog or None,
        "SLO throughput": demand.throughput or None,
        "per replica": None if inputs.capacity is None else inputs.capacity.rate,
    }
    named = ", ".join(f"{_per_second(rate)} {what}" for what, rate in parts.items() if rate is not None)
    return f"{_per_second(demand.total)} ({named})"


def _per_second(rate: float) -> str:
    return f"{rate:.3g} req/s" if rate < 1000 else f"{rate:.0f} req/s"
