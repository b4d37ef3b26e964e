"""The law: what is seen becomes one absolute number of replicas. Pure: the same arguments give the same verdict."""

import math
from dataclasses import replace

from tritonfleet.plan.autoscale import explanation
from tritonfleet.plan.autoscale.attainment import Judgment, judge, report
from tritonfleet.plan.autoscale.capacity import Capacity, capacity_of, learn_all
from tritonfleet.plan.autoscale.demand import demand_of
from tritonfleet.plan.autoscale.facts import Choice, Facts
from tritonfleet.plan.autoscale.growth import observe
from tritonfleet.plan.autoscale.hold import HOUR_SECONDS, held_seconds, highest, remember
from tritonfleet.plan.autoscale.ledger import enter
from tritonfleet.plan.autoscale.limits import Limited, bound, step
from tritonfleet.plan.autoscale.margin import settle
from tritonfleet.plan.autoscale.memory import UP_ONLY_SECONDS, Memory
from tritonfleet.plan.autoscale.noise import listen
from tritonfleet.plan.autoscale.observation import Observation
from tritonfleet.plan.autoscale.policy import Policy
from tritonfleet.plan.autoscale.readiness import watch
from tritonfleet.plan.autoscale.scrapes import STALE_SECONDS
from tritonfleet.plan.autoscale.season import learn as learn_history
from tritonfleet.plan.autoscale.season import watch as watch_season
from tritonfleet.plan.autoscale.signals import ENOUGH_FRESH, Reading, forget_pods, ingest
from tritonfleet.plan.autoscale.trim import trim
from tritonfleet.plan.autoscale.verdict import ScaleReason, Verdict

GAP_SECONDS = 30.0
"""A tick is 5 s; where the wall clock went back, or ahead by more than this, it stepped or the operator slept."""
BLIND_SECONDS = 300.0
"""After so long without any data the recent high is asked for (research 5.4)."""


def decide(policy: Policy, memory: Memory, observation: Observation, now: float) -> Verdict:
    """Return how many replicas to ask for at `now`, seconds since the epoch, and what to remember."""
    memory, seconds = _advance(memory, now)
    signals, reading = ingest(memory.signals, observation, now, memory.clock, seconds)
    memory = replace(memory, signals=signals, readiness=watch(memory.readiness, observation.pods))
    capacity, judgment, memory = _capacity(policy, memory, observation, reading, now, seconds)
    memory = _traffic(policy, memory, reading, judgment, observation, now, seconds)
    horizon = memory.readiness.horizon_seconds
    season = memory.season.forecast(now, horizon, memory.growth.usual) if policy.forecast else None
    demand = demand_of(policy, memory.growth, memory.margin.quantile, season, reading, memory.noise.dispersion)
    late = memory.readiness.late(observation.pods, now)
    facts = Facts(policy, observation, memory, reading, capacity, demand, late)
    choice, memory = _choose(facts)
    blind = choice.reason if reading.fast is None else None
    return Verdict(
        replicas=choice.replicas,
        wanted=choice.wanted,
        reason=choice.reason,
        message=explanation.sentence(choice, facts),
        fresh=reading.enough,
        rate=reading.slow,
        capacity_per_replica=None if capacity is None else capacity.rate,
        forecast=season,
        ready_seconds=memory.readiness.typical_seconds if memory.readiness.seconds else None,
        metrics_age_seconds=reading.age_seconds,
        attainment=report(policy, memory.ledger, judgment, capacity, reading.ready, memory.clock, blind),
        memory=memory,
    )


def _capacity(
    policy: Policy, memory: Memory, observation: Observation, reading: Reading, now: float, seconds: float
) -> tuple[Capacity | None, Judgment, Memory]:
    """Learn T(b) from this tick's batches, judge its latency, and trim the one by the other."""
    fits = learn_all(memory.fits, reading.work, policy)
    capacity = capacity_of(policy, fits, observation.serving)
    judgment = judge(policy, observation.latency, reading, capacity, now, seconds)
    own = fits.get(observation.serving) if observation.serving is not None else None
    if capacity is not None and own is not None and own.confident and observation.serving is not None:
        fits = {**fits, observation.serving: trim(own, policy, observation, reading, capacity, judgment)}
    return capacity, judgment, replace(memory, fits=fits)


def _traffic(
    policy: Policy,
    memory: Memory,
    reading: Reading,
    judgment: Judgment,
    observation: Observation,
    now: float,
    seconds: float,
) -> Memory:
    """Remember how the traffic grew, what it does at this time of day, and what of the error budget it cost."""
    growth, season, noise = memory.growth, memory.season, memory.noise
    if observation.history is not None:
        season = learn_history(season, observation.history)
    if reading.now is not None and reading.middle is not None and seconds > 0:
        before = growth.before
        if before is not None and growth.usual is not None:
            planned = growth.ahead(memory.margin.quantile, before)
            season = watch_season(season, reading.middle, planned, growth.usual, now)
        growth = observe(growth, reading.now, seconds, memory.readiness.horizon_seconds)
        noise = listen(noise, reading.now, seconds)
    budget = 1 - policy.percentile / 100
    margin = settle(memory.margin, judgment.requests, judgment.misses, budget, growth.usual, reading.fast or 0.0)
    ledger = enter(memory.ledger, judgment.requests, judgment.misses, memory.clock)
    return replace(memory, growth=growth, season=season, noise=noise, margin=margin, ledger=ledger)


def _advance(memory: Memory, now: float) -> tuple[Memory, float]:
    """Let the law's own clock go on by what the wall clock did, unless that stepped; return it and the seconds."""
    if memory.at_seconds is None:
        return replace(memory, at_seconds=now), 0.0
    seconds = now - memory.at_seconds
    if 0 <= seconds <= GAP_SECONDS:
        return replace(memory, at_seconds=now, clock=memory.clock + seconds), seconds
    up_only = max(memory.up_only_until, memory.clock + UP_ONLY_SECONDS)
    return replace(memory, at_seconds=now, up_only_until=up_only, signals=forget_pods(memory.signals)), 0.0


def _choose(facts: Facts) -> tuple[Choice, Memory]:
    """Choose the replicas; what is wanted is remembered unless it is not known."""
    memory = facts.memory
    if facts.reading.fast is None:
        return _blind(facts), memory
    if _rate(facts) <= 0 and max(facts.demand.total, facts.demand.seen) > 0:
        return _learning(facts), memory
    wanted = _carriers(facts.demand.total, _rate(facts))
    burst = facts.demand.burst > 0
    hold = remember(memory.hold, facts.policy.hold_seconds, wanted, memory.clock, burst=burst)
    memory = replace(memory, hold=hold)
    facts = replace(facts, memory=memory)
    limited = bound(facts.policy, wanted, facts.observation.replicas, facts.observation.schedulable)
    if limited.replicas >= facts.observation.replicas:
        return _up(facts, wanted, limited), memory
    return _down(facts, wanted), memory


def _rate(facts: Facts) -> float:
    """Return what one replica carries, requests per second; 0 where that is not known."""
    return 0.0 if facts.capacity is None else facts.capacity.rate


def _carriers(demand: float, rate: float) -> int:
    """Return how many replicas carry a demand: none are needed for nothing, whatever one carries."""
    return math.ceil(demand / rate - 1e-9) if demand > 0 else 0


def _keep(facts: Facts, at_least: int = 0) -> Limited:
    """Keep what there is, or raise it, within the limits that always hold."""
    observation = facts.observation
    return bound(facts.policy, max(observation.replicas, at_least), observation.replicas, observation.schedulable)


def _blind(facts: Facts) -> Choice:
    """Without data hold; after five minutes without, raise to the recent high. Never down."""
    memory, reading = facts.memory, facts.reading
    lately = memory.signals.seen_clock - HOUR_SECONDS
    high = highest(memory.hold, lately) if reading.blind_seconds > BLIND_SECONDS and not facts.late else 0
    kept = _keep(facts, high)
    if not any(pod.ready_seconds is not None for pod in facts.observation.pods):
        reason = ScaleReason.PODS_NOT_READY
    elif reading.silent and reading.silent == reading.ready:
        reason = ScaleReason.SERIES_MISSING
    elif reading.blind_seconds <= STALE_SECONDS and memory.clock < memory.up_only_until:
        reason = ScaleReason.RESTARTED
    else:
        reason = ScaleReason.METRICS_STALE
    return Choice(kept.replicas, facts.observation.replicas, reason)


def _learning(facts: Facts) -> Choice:
    """Before anything is known of a replica add one at a time, while requests wait and no pod is on its way."""
    reading, replicas = facts.reading, facts.observation.replicas
    waiting = reading.pending > facts.policy.max_batch_size * max(1, reading.ready)
    starting = sum(pod.ready_seconds is None for pod in facts.observation.pods)
    wanted = replicas + 1 if waiting and not starting and reading.ready >= replicas else replicas
    return Choice(_keep(facts, wanted).replicas, wanted, ScaleReason.LEARNING)


def _up(facts: Facts, wanted: int, limited: Limited) -> Choice:
    """Up at once; pods that start are supply already, for what is asked for counts them."""
    replicas = facts.observation.replicas
    if limited.replicas > replicas and facts.late:
        return Choice(_keep(facts).replicas, wanted, ScaleReason.PODS_NOT_READY)
    target = step(facts.policy, replicas, limited.replicas)
    if limited.reason is ScaleReason.AT_MIN_REPLICAS and facts.demand.total <= 0:
        return Choice(target, wanted, ScaleReason.NO_TRAFFIC)
    if limited.reason is not None:
        return Choice(target, wanted, limited.reason)
    if target == replicas:
        return Choice(target, wanted, ScaleReason.STEADY)
    return Choice(target, wanted, facts.demand.reason)


def _down(facts: Facts, wanted: int) -> Choice:
    """Down only on good data, after the hold, and only where the model keeps 0.85 of the target with fewer replicas."""
    memory, policy, replicas = facts.memory, facts.policy, facts.observation.replicas
    if (reason := _forbidden(facts)) is not None:
        return Choice(_keep(facts).replicas, wanted, reason)
    held = held_seconds(memory.hold, policy.hold_seconds, memory.clock, replicas)
    remembered = highest(memory.hold, memory.clock - held)
    needed = _carriers(facts.demand.seen, 0.0 if facts.capacity is None else facts.capacity.spare_rate)
    limited = bound(policy, max(remembered, min(needed, replicas)), replicas, facts.observation.schedulable)
    if limited.replicas >= replicas:
        return Choice(_keep(facts).replicas, wanted, ScaleReason.HOLDING)
    reason = ScaleReason.NO_TRAFFIC if facts.demand.total <= 0 else ScaleReason.DEMAND_FELL
    return Choice(step(policy, replicas, limited.replicas), wanted, reason)


def _forbidden(facts: Facts) -> ScaleReason | None:
    """Return why nothing may be taken away now, whatever the demand."""
    memory, reading = facts.memory, facts.reading
    if reading.silent and not reading.enough:
        return ScaleReason.SERIES_MISSING
    if not reading.enough:
        return ScaleReason.METRICS_PARTIAL
    # Clients that wait for answers ask less of the few pods that are left when others fail.
    if reading.ready < ENOUGH_FRESH * (reading.ready + memory.readiness.lost(facts.observation.pods)):
        return ScaleReason.PODS_NOT_READY
    if facts.observation.rolling:
        return ScaleReason.ROLLING_OUT
    return ScaleReason.RESTARTED if memory.clock < memory.up_only_until else None
