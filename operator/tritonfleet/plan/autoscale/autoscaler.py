"""How many replicas a ModelDeployment needs now: one absolute number, with the reason and the numbers behind it.

`decide()` is a pure function of the policy, the memory of the last decision and one observation; it returns a
`Verdict` and the next memory. The operator calls it every five seconds for each ModelDeployment
(`runtime/autoscaler.py`), the simulator does the same (`sim/scalers.py`), and what it returns becomes the status and
the size of the Deployment.

    need : the smallest fleet that carries the demand within the SLO
    N*   : the largest of the need, of what is started so that what the present rate needs is ready soon, and of what
           is kept ready for a minute in which bursts came before
    up   : at once, at most to `scale_up_factor` times the replicas, within minReplicas, maxReplicas and the nodes
    down : to the highest need of the stabilization window, at most by `scale_down_percent` at once

N* depends on the demand, the capacity and the ready pods alone, never on how many replicas there are: neither pods that
are starting nor a rollout's extra ones can make it run away. A replica is removed only on fresh data, and none while
the present rate needs more than are ready.

Example: a demand of 120 requests/s, of which one replica carries 46 and two pooled ones 97, needs 3, so that one
replica becomes three at once. When the demand falls to 80, the need is 2; the third replica stays until the window of
the peak is over. It is a fall of one replica, a ripple, so that with a window of 90 s this takes 360 s.
"""

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
    EXCESS,
    Demand,
    Startup,
    demand_of,
    learn_history,
    pods_to_start,
    record_ready_times,
    startup_of,
    update_growth,
)
from tritonfleet.plan.autoscale.interface import Attainment, Observation, Parts, Policy, ScaleReason
from tritonfleet.plan.autoscale.memory import UP_ONLY_SECONDS, Memory
from tritonfleet.plan.autoscale.slo import adjust, attainment_of, evaluate_slo, record, trim
from tritonfleet.plan.autoscale.stabilization import (
    HOUR_SECONDS,
    Limited,
    clamp,
    highest_wanted,
    is_ripple,
    limit_step,
    record_change,
    record_peak,
    stabilization_window,
)

ALL_PARTS = Parts()
GAP_SECONDS = 30.0
"""A tick is 5 s; if the wall clock went back, or ahead by more than this, it stepped or the operator slept."""
BLIND_SECONDS = 300.0
"""After this long without any metrics, scale to the highest need of the last hour."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One decision, with the numbers it rests on."""

    replicas: int
    """What the Deployment should ask for."""
    wanted: int
    """N*, before any limit."""
    reason: ScaleReason
    explain: Callable[[], str] = field(compare=False)
    """Returns a sentence with numbers for the status; rendered only where it is shown."""
    fresh: bool
    """Whether enough pods were seen to remove replicas."""
    rate: float | None
    """Arrivals per second over the slow window; None if unknown."""
    capacity_per_replica: float | None
    """Requests per second that each replica of a fleet of N* carries; None before there is a fit or a hint."""
    forecast: float | None
    """Requests per second of the burst that replicas are kept ready for; None if there is none."""
    ready_seconds: float | None
    """The 75th percentile of the pods' times to ready; None before one was seen."""
    metrics_age_seconds: float | None
    """Age of the oldest sample that the decision rests on."""
    attainment: Attainment
    memory: Memory
    """The argument of the next `decide()`."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Replicas, by what asks for them."""

    demand: int = 0
    present: int = 0
    """For the rate of now, without any growth."""
    starts: int = 0
    """In a burst: the ready ones, and those to start so that the present need is met soon; 0 while it is met."""
    slot: int = 0
    """For a burst that comes back at this minute."""

    @property
    def wanted(self) -> int:
        """N*."""
        return max(self.demand, self.starts, self.slot)


@dataclass(frozen=True, slots=True)
class ScalingInputs:
    """Everything that the choice of a number of replicas rests on."""

    policy: Policy
    observation: Observation
    memory: Memory
    """Already of this tick; `_choose()` alone records the new need."""
    reading: Reading
    startup: Startup
    capacity: Capacity | None
    demand: Demand
    forecast: float | None
    parts: Parts
    needs: "Needs"


@dataclass(frozen=True, slots=True)
class Choice:
    """A number of replicas, N*, and why."""

    replicas: int
    wanted: int
    reason: ScaleReason
    window_seconds: float = 0.0
    """For how long the highest N* counts, where it is the reason."""


def decide(policy: Policy, memory: Memory, observation: Observation, now: float, parts: Parts = ALL_PARTS) -> Verdict:
    """Return how many replicas to ask for at `now`, seconds since the epoch, and what to remember."""
    memory, seconds = _advance(memory, now)
    # Observe arrivals and pods.
    signals, reading = ingest(memory.signals, observation, now, memory.clock, seconds)
    readiness = record_ready_times(memory.readiness, observation.pods)
    startup = startup_of(readiness, observation.pods, now)
    # Learn T(b) from this tick's batches, and trim the capacity by the measured latency.
    fits = update_fits(memory.fits, reading.work, policy, parts)
    capacity = capacity_of(policy, fits, observation.serving, parts)
    evaluation = evaluate_slo(policy, observation.latency, reading, capacity, now, seconds)
    fits = trim(fits, policy, observation, reading, capacity, evaluation)
    # Update growth, bursts, noise, headroom and error budget.
    noise, growth, bursts = memory.noise, memory.growth, memory.bursts
    if observation.history is not None:
        growth, bursts = learn_history(growth, bursts, observation.history, startup, noise.dispersion)
    if reading.now is not None and seconds > 0:
        growth, bursts = update_growth(growth, bursts, reading.now, seconds, startup, noise.dispersion, now)
        noise = update_noise(noise, reading.now, seconds)
    headroom = adjust(memory.headroom, evaluation, policy, seconds, calm=bursts.calm(now))
    if parts.headroom:
        growth = growth.solve(headroom.excess(EXCESS, policy.percentile), bursts.usual)
    error_budget = record(memory.error_budget, evaluation, memory.clock)
    # Compute the demand and choose the replicas.
    demand = demand_of(policy, growth, bursts.usual, reading, noise.dispersion, startup.horizon_seconds)
    forecast = None
    if policy.forecast and parts.recurrence:
        forecast = bursts.expected_rate(now, startup.slow_seconds, growth.highest)
    memory = replace(
        memory,
        signals=signals,
        noise=noise,
        readiness=readiness,
        fits=fits,
        growth=growth,
        bursts=bursts,
        headroom=headroom,
        error_budget=error_budget,
    )
    inputs = ScalingInputs(policy, observation, memory, reading, startup, capacity, demand, forecast, parts, Needs())
    choice, inputs = _choose(inputs)
    blind = choice.reason if reading.fast is None else None
    per_replica = None if capacity is None else capacity.per_replica(choice.wanted)
    return Verdict(
        replicas=choice.replicas,
        wanted=choice.wanted,
        reason=choice.reason,
        explain=partial(_explain, choice, inputs, per_replica),
        fresh=reading.enough,
        rate=reading.slow,
        capacity_per_replica=per_replica,
        forecast=forecast,
        ready_seconds=startup.typical_seconds,
        metrics_age_seconds=reading.age_seconds,
        attainment=attainment_of(policy, error_budget, evaluation, capacity, reading.ready, memory.clock, blind),
        memory=inputs.memory,
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


def _choose(inputs: ScalingInputs) -> tuple[Choice, ScalingInputs]:
    """Choose the replicas by the first rule that applies; record the need if it is known, and the change."""
    choice, inputs = _choice(inputs)
    memory, before = inputs.memory, inputs.observation.replicas
    if inputs.forecast is not None:
        # Going up for a known minute says nothing about noise.
        return choice, inputs
    changed = record_change(memory.stabilization, before, choice.replicas, memory.clock)
    return choice, replace(inputs, memory=replace(memory, stabilization=changed))


def _choice(inputs: ScalingInputs) -> tuple[Choice, ScalingInputs]:
    policy, observation, demand, memory = inputs.policy, inputs.observation, inputs.demand, inputs.memory
    # No metrics at all: never down.
    if inputs.reading.fast is None:
        return _without_metrics(inputs), inputs
    # Requests, but no idea of what a replica can carry.
    if inputs.capacity is None and max(demand.total, inputs.reading.fast, inputs.reading.slow or 0.0) > 0:
        return _without_capacity(inputs), inputs
    needs = _needs(inputs)
    peaks = record_peak(memory.stabilization, policy.stabilization_seconds, needs.demand, memory.clock)
    inputs = replace(inputs, needs=needs, memory=replace(memory, stabilization=peaks))
    limited = clamp(policy, needs.wanted, observation.replicas, observation.schedulable)
    if limited.replicas >= observation.replicas:
        return _scale_out(inputs, limited), inputs
    return _scale_in(inputs), inputs


def _needs(inputs: ScalingInputs) -> Needs:
    """Return the replicas that the demand, the present rate and a recurring burst need."""
    capacity, reading = inputs.capacity, inputs.reading
    if capacity is None:
        return Needs()
    present = capacity.replicas_for(reading.middle or 0.0)
    missing, starts = present - reading.ready, 0
    # Outside of bursts, or for a single one, it may be noise that the present rate needs more.
    in_burst = inputs.parts.surplus and inputs.memory.bursts.began_seconds is not None
    if in_burst and missing > 0 and not is_ripple(present, reading.ready):
        starts = reading.ready + pods_to_start(missing, inputs.startup.times)
    return Needs(
        demand=capacity.replicas_for(inputs.demand.total),
        present=present,
        starts=starts,
        slot=capacity.replicas_for(inputs.forecast or 0.0),
    )


def _keep(inputs: ScalingInputs, at_least: int = 0) -> int:
    """Return the present replicas, or `at_least` so many, within the limits that always hold."""
    observation = inputs.observation
    wanted = max(observation.replicas, at_least)
    return clamp(inputs.policy, wanted, observation.replicas, observation.schedulable).replicas


def _without_metrics(inputs: ScalingInputs) -> Choice:
    """Keep the replicas; after five minutes without metrics, scale out to the highest need of the last hour."""
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


def _scale_out(inputs: ScalingInputs, limited: Limited) -> Choice:
    """Scale out at once, unless pods are late: then more of them would not help. Steady is a scale-out by none."""
    replicas, needs, wanted = inputs.observation.replicas, inputs.needs, inputs.needs.wanted
    if limited.replicas > replicas and inputs.startup.late:
        return Choice(_keep(inputs), wanted, ScaleReason.PODS_NOT_READY)
    target = limit_step(inputs.policy, replicas, limited.replicas)
    if limited.reason is ScaleReason.AT_MIN_REPLICAS and inputs.demand.total <= 0:
        return Choice(target, wanted, ScaleReason.NO_TRAFFIC)
    if limited.reason is not None:
        return Choice(target, wanted, limited.reason)
    if target == replicas:
        return Choice(target, wanted, ScaleReason.STEADY)
    by_slot = needs.slot > max(needs.demand, needs.starts)
    return Choice(target, wanted, ScaleReason.SEASONAL_FORECAST if by_slot else inputs.demand.reason)


def _scale_in(inputs: ScalingInputs) -> Choice:
    """Scale in to the highest need of the stabilization window, if the data is good."""
    memory, policy, observation, needs = inputs.memory, inputs.policy, inputs.observation, inputs.needs
    replicas, wanted = observation.replicas, needs.wanted
    if (reason := _scale_in_disabled(inputs)) is not None:
        return Choice(_keep(inputs), wanted, reason)
    window = stabilization_window(
        memory.stabilization,
        policy.stabilization_seconds,
        memory.clock,
        replicas,
        doubled=inputs.parts.ripples,
    )
    # What was asked for stays until it has been seen at work.
    if inputs.startup.starting and needs.present > inputs.reading.ready:
        return Choice(_keep(inputs), wanted, ScaleReason.SCALE_DOWN_STABILIZED, window)
    target = max(highest_wanted(memory.stabilization, memory.clock - window), wanted)
    if inputs.forecast is not None and is_ripple(replicas, target):
        target = replicas
    limited = clamp(policy, target, replicas, observation.schedulable)
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


def _explain(choice: Choice, inputs: ScalingInputs, per_replica: float | None) -> str:
    """Explain the decision in one sentence, with the numbers that it came from."""
    memory, reading, startup, before = inputs.memory, inputs.reading, inputs.startup, inputs.observation.replicas
    if choice.replicas == before:
        action = f"keeping {counted(before, 'replica')}"
    else:
        action = f"scaling {'out' if choice.replicas > before else 'in'} from {before} to {choice.replicas}"
    needs = f"{_explain_demand(inputs, per_replica)} needs {counted(choice.wanted, 'replica')}"
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


def _explain_demand(inputs: ScalingInputs, per_replica: float | None) -> str:
    """Return the demand and what it is made of: `120 req/s (90 req/s now, 46 req/s per replica)`."""
    demand = inputs.demand
    parts = {
        "now": inputs.reading.slow,
        "burst": demand.burst or None,
        "expected at this minute": inputs.forecast,
        f"to drain {counted(round(inputs.reading.pending), 'queued request')}": demand.backlog or None,
        "SLO throughput": demand.throughput or None,
        "per replica": per_replica,
    }
    named = ", ".join(f"{_per_second(rate)} {what}" for what, rate in parts.items() if rate is not None)
    return f"{_per_second(demand.total)} ({named})"


def _per_second(rate: float) -> str:
    return f"{rate:.3g} req/s" if rate < 1000 else f"{rate:.0f} req/s"
